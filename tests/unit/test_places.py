"""Included: which source's answer is taken. The last source is asked about real addresses."""

from pathlib import Path

import pytest

from registrar.containers import Container
from registrar.places import (
    Finder,
    Finding,
    Place,
    PlaceSettings,
    Search,
    Source,
    docker,
    search_through,
    socket,
)
from registry.faults import PlaceUnknown
from registry.records import Address


def says(name: str, ip: str = "", port: int = 0) -> Source:
    return Source(name, lambda _: Finding(ip, port))


def never(_: Search) -> Finding:
    raise AssertionError("asked, though all was known")


def find(settings: PlaceSettings) -> Place:
    return Finder(settings).find()


def test_the_first_answer_wins_for_each_part_on_its_own() -> None:
    sources = [says("a", port=32768), says("b", "10.0.0.5", 8080), Source("c", never)]

    place = search_through(sources, Search(PlaceSettings()))

    assert place.address == Address("10.0.0.5", 32768)
    assert (place.ip.source, place.port.source) == ("b", "a")


@pytest.mark.parametrize(
    ("source", "missing"), [(says("a", port=80), "set IP"), (says("a", "10.0.0.5"), "set PORT")]
)
def test_what_nobody_knows_is_named(source: Source, missing: str) -> None:
    with pytest.raises(PlaceUnknown, match=missing):
        search_through([source], Search(PlaceSettings()))


def test_what_was_given_wins_over_what_could_be_found_out() -> None:
    settings = PlaceSettings("10.1.2.3", 32768, 8080, ("http://127.0.0.1:2379",))

    assert find(settings).address == Address("10.1.2.3", 32768)


def test_the_port_is_the_services_own_unless_somebody_knows_better() -> None:
    place = find(PlaceSettings(port=8080, endpoints=("http://127.0.0.1:2379",)))

    assert place.address == Address("127.0.0.1", 8080)
    assert place.port.source == "PORT"


@pytest.mark.parametrize(
    ("endpoint", "ip"), [("http://127.0.0.1:2379", "127.0.0.1"), ("https://[::1]:2379", "::1")]
)
def test_the_address_is_the_one_that_we_speak_from(endpoint: str, ip: str) -> None:
    found = socket.find_own_ip([endpoint])

    if not found and ip == "::1":
        pytest.skip("this machine has no IPv6, not even on loopback")
    assert found == ip


def test_an_endpoint_without_a_route_is_passed_over() -> None:
    # no name server is asked for a name that cannot be one, and the kernel does not let us speak
    # to everybody at once
    endpoints = [f"http://{'x' * 64}:1", "http://255.255.255.255:1", "http://127.0.0.1:2379"]

    assert socket.find_own_ip(endpoints) == "127.0.0.1"
    assert not socket.find_own_ip(endpoints[:2])


ID = "16244e385446a397f3317b08dcb18e2be636ebb78a6bfc2efa3d49a7538ffae5"
OTHER = "c" * 64

HOST_MOUNTS = (
    f"120 92 0:5 / /var/lib/docker/containers/{OTHER}/mounts/shm rw - tmpfs shm rw\n"
    f"121 92 0:6 / /var/lib/docker/overlay2/{OTHER}/merged rw - overlay overlay rw\n"
)

MOUNTED = "121 92 254:0 {folder}/{id}/{file} /etc/{file} rw,relatime - ext4 /dev/vda rw\n"


def mountinfo(folder: str, file: str = "hostname", container: str = ID) -> str:
    """What the kernel says inside a container, and the usual beside it."""
    mounted = MOUNTED.format(folder=folder, id=container, file=file)
    return f"92 91 0:40 / / rw,relatime - overlay overlay rw\n{mounted}"


@pytest.mark.parametrize(
    ("mounts", "cgroup", "own"),
    [
        (mountinfo("/var/lib/docker/containers"), "0::/\n", ID),
        (mountinfo("/srv/docker\\040data/containers", "hosts"), "", ID),
        (mountinfo("/var/lib/docker/containers", "resolv.conf"), "", ID),
        # podman
        (f"9 8 0:1 /overlay-containers/{ID}/userdata/hostname /etc/hostname rw - x y rw\n", "", ID),
        # nothing of ours is mounted: the cgroup's word counts
        ("", f"9:name=systemd:/docker/{ID}\n8:pids:/docker/{ID}\n", ID),
        ("", f"0::/system.slice/docker-{ID}.scope\n", ID),
        ("", f"0::/user.slice/user@1000.service/libpod-{ID}.scope/container\n", ID),
        # the host: what is mounted there for its containers is not mounted at our own files
        (HOST_MOUNTS, "0::/user.slice/user-1000.slice/session-1.scope\n", ""),
        ("", "", ""),
    ],
)
def test_the_kernel_says_in_which_container_we_are(
    tmp_path: Path, mounts: str, cgroup: str, own: str
) -> None:
    files = (tmp_path / "mountinfo", tmp_path / "cgroup")
    for file, text in zip(files, (mounts, cgroup), strict=True):
        file.write_text(text)

    signs = [sign for _, sign in docker.SIGNS]

    assert docker.own_id(list(zip(files, signs, strict=True))) == own


def test_files_that_are_not_there_say_nothing(tmp_path: Path) -> None:
    [(_, sign), _] = docker.SIGNS
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")

    assert docker.own_id([(tmp_path / "none", sign), (tmp_path / "bytes", sign)]) == ""


def look(settings: PlaceSettings) -> Finding:
    search = Search(settings)
    search.begin("the Docker engine")
    return docker.look(search)


def own(**more: object) -> Container:
    return Container(ID, "shop-web-1", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("container", "ip", "expected"),
    [
        (own(published={8000: ("0.0.0.0", 32768)}), "10.0.0.7", ("10.0.0.7", 32768)),  # noqa: S104
        (own(published={8000: ("127.0.0.1", 32768)}), "", ("127.0.0.1", 32768)),
        (own(published={8000: ("127.0.0.1", 32768)}), "127.0.0.1", ("127.0.0.1", 32768)),
        (own(published={9000: ("127.0.0.1", 32768)}), "10.0.0.7", ("", 0)),
        (own(network_mode="host"), "", ("", 0)),
    ],
)
def test_the_published_port_is_read(
    container: Container, ip: str, expected: tuple[str, int]
) -> None:
    assert docker.read_place(ID, ip, 8000, inspect=lambda _: container) == expected


def test_a_port_that_is_published_elsewhere_than_ip_says_is_not_registered() -> None:
    container = own(published={8000: ("127.0.0.1", 32768)})

    with pytest.raises(PlaceUnknown, match=r"published at 127\.0\.0\.1:32768 alone, and IP"):
        docker.read_place(ID, "10.0.0.7", 8000, inspect=lambda _: container)


def test_an_engine_that_is_named_and_not_mounted_may_be_anothers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container that builds images: its DOCKER_HOST is what it works with."""
    monkeypatch.setattr(docker, "own_id", lambda: ID)
    monkeypatch.setattr("registrar.engine.SOCKET", "/nowhere/docker.sock")

    assert look(PlaceSettings(port=8000, docker_host="tcp://127.0.0.1:1")) == Finding()
    assert "registering the container's own address" in caplog.text


def test_a_host_that_cannot_be_resolved_is_named() -> None:
    settings = PlaceSettings(port=8000, endpoints=("http://no-such-host.invalid:2379",))

    with pytest.raises(PlaceUnknown, match=r"the host 'no-such-host\.invalid' of REGISTRY_URL"):
        find(settings)


def test_only_who_could_have_published_a_port_is_told_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    docker.read_place(ID, "", 8000, inspect=lambda _: own(network_mode="host"))
    assert caplog.text == ""

    docker.read_place(ID, "", 8000, inspect=lambda _: own(network_mode="bridge"))
    assert "port 8000 of this container is not published" in caplog.text


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        (None, f"has no container {ID[:12]}, which is ours; mount the socket of the engine that"),
        (own(published={8000: ("::", 32768)}), "published as port 32768 of the host, and nothing"),
        (own(published={8000: ("nowhere", 32768)}), "nowhere"),
    ],
)
def test_what_the_engine_cannot_say_is_a_fault(container: Container | None, sentence: str) -> None:
    with pytest.raises(PlaceUnknown, match=sentence):
        docker.read_place(ID, "", 8000, inspect=lambda _: container)


def test_without_a_port_no_engine_is_asked(tmp_path: Path) -> None:
    (tmp_path / "docker.sock").touch()

    assert look(PlaceSettings(docker_host=f"unix://{tmp_path}/docker.sock")) == Finding()
