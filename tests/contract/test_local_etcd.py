"""A registry on this machine is protected before anybody can know where it is."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from registry.accounts import check_untouched, protect
from registry.etcd import Etcd, EtcdSettings
from registry.faults import ProgramMissing, StoreDenied
from standalone.binaries import ETCD
from standalone.folder import StateFolder, hold
from standalone.local_etcd import LocalEtcd
from standalone.ports import free_ports
from standalone.stopping import Stop
from tests.etcd_server import EtcdServer

pytestmark = pytest.mark.contract


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path / "etcd") as server:
        yield server


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[StateFolder]:
    with hold(tmp_path / "state") as folder:
        yield folder


def local(folder: StateFolder) -> LocalEtcd:
    binary = Path(os.environ.get("ETCD") or ETCD.packaged())
    return LocalEtcd(binary, folder, os.environ, Stop())


def a_key(etcd: Etcd) -> None:
    etcd.write(b"/branchfront/routes/main/web", b"10.0.0.1:80")


def a_key_that_is_gone_again(etcd: Etcd) -> None:
    etcd.write(b"/x", b"")
    etcd.delete(b"/x")


def a_user(etcd: Etcd) -> None:
    etcd.call("auth/user/add", name="guest", password="guest")


def a_role(etcd: Etcd) -> None:
    etcd.call("auth/role/add", name="guests")


def nothing(_etcd: Etcd) -> None: ...


@pytest.mark.parametrize("others_do", [nothing, a_key, a_key_that_is_gone_again, a_user, a_role])
def test_whatever_others_did_before_it_was_protected_shows(
    server: EtcdServer, others_do: Callable[[Etcd], None]
) -> None:
    with closing(Etcd(EtcdSettings((server.url,)))) as etcd:
        others_do(etcd)
        protect(etcd, password="secret")

    with closing(Etcd(EtcdSettings((server.url,), user="root", password="secret"))) as etcd:
        if others_do is nothing:
            check_untouched(etcd)
        else:
            with pytest.raises(StoreDenied, match="somebody wrote"):
                check_untouched(etcd)


def test_a_protected_registry_takes_nothing_without_its_password(folder: StateFolder) -> None:
    etcd = local(folder)
    etcd.prepare()
    child, root = etcd.start(free_ports(1)[0])
    try:
        endpoint = child.command.arguments[
            child.command.arguments.index("--listen-client-urls") + 1
        ]
        for settings in (
            EtcdSettings((endpoint,)),
            EtcdSettings((endpoint,), user="root", password="guess"),
        ):
            with closing(Etcd(settings)) as other:
                with pytest.raises(StoreDenied):
                    other.write(b"/x", b"")
                with pytest.raises(StoreDenied):
                    other.list(b"/")
        assert root.list(b"/").entries == {}
    finally:
        child.end(stop=Stop())
        root.close()


def test_two_registries_are_told_apart_by_their_cluster(tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        with hold(tmp_path / name) as folder:
            etcd = local(folder)
            etcd.prepare()
            child, root = etcd.start(free_ports(1)[0])
            ids.add(root.list(b"/").cluster_id)
            child.end(stop=Stop())
            root.close()

    assert len(ids) == 2


def test_data_that_was_left_half_made_is_made_anew(folder: StateFolder) -> None:
    (folder.path / "etcd.new" / "member").mkdir(parents=True)

    local(folder).prepare()

    assert folder.etcd.is_dir()
    assert not (folder.path / "etcd.new").exists()


def test_data_that_is_there_is_left_as_it_is(folder: StateFolder) -> None:
    folder.etcd.mkdir()

    local(folder).prepare()

    assert list(folder.etcd.iterdir()) == []


def test_a_password_that_does_not_fit_is_one_sentence_with_a_way_out(folder: StateFolder) -> None:
    etcd = local(folder)
    etcd.prepare()
    (folder.path / "password").write_text(secrets.token_hex(16), encoding="ascii")

    with pytest.raises(StoreDenied, match="remove the folder to begin anew"):
        etcd.start(free_ports(1)[0])


def test_an_etcd_that_ends_at_its_start_is_told_with_its_last_words(folder: StateFolder) -> None:
    folder.etcd.write_text("no folder", encoding="utf-8")

    with pytest.raises(ProgramMissing, match="etcd ended at its start; it said last"):
        local(folder).start(free_ports(1)[0])
