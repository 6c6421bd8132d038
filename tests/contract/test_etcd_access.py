"""Users, passwords, tokens, roles and certificates of a real etcd."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.etcd import Etcd, EtcdSettings, put
from registry.faults import StoreDenied, StoreMisspoken, StoreUnreachable
from tests.certificates import Authority, token_keys
from tests.etcd_server import EtcdServer, add_reader, enable_users, wait_until

pytestmark = pytest.mark.contract

TOKEN_TTL_S = 2


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """An etcd with users; ``reader`` may see and write ``/mine/`` alone."""
    flags = ["--auth-token-ttl", str(TOKEN_TTL_S)]
    with EtcdServer(tmp_path_factory.mktemp("guarded"), flags=flags) as server:
        enable_users(Etcd(server.settings), password="root-secret")
        add_reader(client(server, "root"), "reader", prefix=b"/mine/", password="reader-secret")
        yield server


def client(server: EtcdServer, user: str, *, password: str = "") -> Etcd:
    return Etcd(
        EtcdSettings((server.url,), user=user, password=password or f"{user}-secret"),
    )


def test_a_user_reads_writes_and_watches_what_the_role_allows(guarded: EtcdServer) -> None:
    etcd = client(guarded, "reader")
    lease = etcd.grant(30).id
    assert etcd.refresh(lease) == 30
    revision = etcd.write(b"/mine/a", b"v", lease=lease)
    with etcd.follow(b"/mine/", from_revision=revision) as following:
        assert next(following).revision == revision
    assert etcd.commit([], then=[put(b"/mine/a", b"w", lease=lease)]).succeeded


def test_what_the_role_does_not_allow_is_denied(guarded: EtcdServer) -> None:
    etcd = client(guarded, "reader")
    with pytest.raises(StoreDenied, match="permission denied"):
        etcd.write(b"/theirs/a", b"")
    with pytest.raises(StoreDenied, match="permission denied"):
        etcd.commit([], then=[put(b"/theirs/a", b"")])
    with pytest.raises(StoreDenied, match="permission denied"):
        etcd.list(b"/theirs/")
    with pytest.raises(StoreDenied, match="permission denied"):
        etcd.follow(b"/theirs/", from_revision=1)


def test_a_wrong_password_is_denied_and_repeated_nowhere(guarded: EtcdServer) -> None:
    etcd = client(guarded, "reader", password="very-wrong")
    with pytest.raises(StoreDenied, match="authentication failed") as hit:
        etcd.read(b"/mine/a")
    assert "very-wrong" not in str(hit.value)
    assert "very-wrong" not in repr(EtcdSettings(("x",), password="very-wrong"))


def test_no_password_where_one_is_wanted_is_denied(guarded: EtcdServer) -> None:
    etcd = Etcd(guarded.settings)
    with pytest.raises(StoreDenied, match="user and a password"):
        etcd.read(b"/mine/a")
    with pytest.raises(StoreDenied):
        etcd.follow(b"/mine/", from_revision=1)


def test_a_token_that_ran_out_is_renewed(guarded: EtcdServer) -> None:
    etcd = client(guarded, "reader")
    start = etcd.write(b"/mine/a", b"before")
    watches = client(guarded, "reader")
    with watches.follow(b"/mine/", from_revision=start) as opened_before:
        next(opened_before)
        ran_out_at = time.monotonic() + TOKEN_TTL_S + 1.5  # etcd looks once a second
        wait_until(lambda: time.monotonic() > ran_out_at)
        # a new watch would be silent for ever with the old token
        with watches.follow(b"/mine/", from_revision=start) as following:
            assert next(following).revision == start
        revision = etcd.write(b"/mine/a", b"after")
        assert next(opened_before).revision == revision


def test_many_threads_renew_a_token_without_a_fault(guarded: EtcdServer) -> None:
    etcd = client(guarded, "reader")
    etcd.write(b"/mine/a", b"")
    ran_out_at = time.monotonic() + TOKEN_TTL_S + 1.5
    wait_until(lambda: time.monotonic() > ran_out_at)
    written: list[int] = []

    def write() -> None:
        written.append(etcd.write(b"/mine/a", b""))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(written) == 8


def test_a_restarted_etcd_knows_no_token_and_gets_a_new_one(tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as server:
        enable_users(Etcd(server.settings), password="root-secret")
        etcd = client(server, "root")
        revision = etcd.write(b"/a", b"")
        server.restart()
        assert etcd.write(b"/a", b"") == revision + 1
        server.restart()
        with etcd.follow(b"/a", from_revision=revision) as following:
            assert next(following).revision == revision + 1


def test_a_user_where_etcd_has_none_is_let_in_now_and_once_it_has(tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as server:
        etcd = client(server, "root")
        etcd.write(b"/a", b"without users")
        with etcd.follow(b"/a", from_revision=1) as following:
            next(following)
        enable_users(Etcd(server.settings), password="root-secret")
        etcd.write(b"/a", b"with users")


def test_a_change_of_roles_makes_no_jwt_fail(tmp_path: Path) -> None:
    public, private = token_keys(tmp_path)
    kind = f"jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl=10m"
    with EtcdServer(tmp_path / "etcd", flags=["--auth-token", kind]) as server:
        enable_users(Etcd(server.settings), password="root-secret")
        root = client(server, "root")
        add_reader(root, "reader", prefix=b"/mine/", password="reader-secret")
        etcd = client(server, "reader")
        revision = etcd.write(b"/mine/a", b"")
        root.call("auth/role/add", name="another")
        assert etcd.write(b"/mine/a", b"") == revision + 1
        client(server, "root").call("auth/role/add", name="one-more")
        with etcd.follow(b"/mine/", from_revision=revision) as following:
            assert next(following).revision == revision + 1
        lease = etcd.grant(10).id
        client(server, "root").call("auth/role/add", name="the-last")
        assert etcd.refresh(lease) == 10


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[EtcdServer]:
    """An etcd that takes only clients with a certificate, and has users."""
    cert, key = authority.sign("server")
    ours, our_key = authority.sign("client")
    flags = ["--client-cert-auth", "--trusted-ca-file", str(authority.ca)]
    flags += ["--cert-file", cert, "--key-file", key]
    server = EtcdServer(tmp_path_factory.mktemp("secure"), flags=flags, scheme="https")
    server.settings = EtcdSettings((server.url,), ca=str(authority.ca), cert=ours, key=our_key)
    with server:
        enable_users(Etcd(server.settings), password="root-secret")
        yield server


def test_a_certificate_without_a_cn_and_a_password_are_let_in(
    secure: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # variables that requests would believe before its own arguments
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    ours = secure.settings
    etcd = Etcd(
        EtcdSettings(
            ours.endpoints,
            user="root",
            password="root-secret",
            ca=ours.ca,
            cert=ours.cert,
            key=ours.key,
        )
    )
    revision = etcd.write(b"/a", b"")
    following = etcd.follow(b"/a", from_revision=revision)
    assert next(following).revision == revision
    reader = threading.Thread(target=lambda: list(following))
    reader.start()
    following.close()
    reader.join(0.5)
    assert not reader.is_alive()


def test_a_certificate_with_a_cn_is_refused_with_the_way_out(
    secure: EtcdServer, authority: Authority
) -> None:
    cert, key = authority.sign("named", common_name="root")
    etcd = Etcd(
        EtcdSettings(
            (secure.url,), user="root", password="x", ca=str(authority.ca), cert=cert, key=key
        )
    )
    with pytest.raises(StoreDenied, match="without a CN"):
        etcd.read(b"/a")
    with pytest.raises(StoreDenied, match="without a CN"):
        etcd.follow(b"/a", from_revision=1)


def test_no_certificate_where_one_is_wanted_is_denied(
    secure: EtcdServer, authority: Authority
) -> None:
    etcd = Etcd(EtcdSettings((secure.url,), ca=str(authority.ca)))
    # which one depends on whether etcd's alert or its closing is seen first
    with pytest.raises((StoreDenied, StoreUnreachable), match="certificate"):
        etcd.read(b"/a")


def test_a_server_whose_certificate_nobody_signed_is_not_trusted(
    secure: EtcdServer, tmp_path: Path
) -> None:
    other = Authority(tmp_path)
    ours = secure.settings
    etcd = Etcd(EtcdSettings((secure.url,), ca=str(other.ca), cert=ours.cert, key=ours.key))
    with pytest.raises(StoreMisspoken, match="not to be trusted"):
        etcd.read(b"/a")
