"""The file that ECS's agent mounts into each container where it is told to.

It has the ip of the instance, which task metadata has not, and the ports of the one container that
it is mounted into. Written twice: the ip is there from the beginning, the ports are not.
"""

from pathlib import Path

from registrar.aws.endpoint import BODY_MOST, insist
from registrar.aws.tasks import AWSVPC, HOST, MetadataFile, parse_document
from registrar.places.search import Finding, Reached, Search
from registry.faults import MetadataUnavailable

PATIENCE_S = 2.0
"""The agent writes it again within a second of the start."""


def look(search: Search) -> Finding:
    """What it says of the ip, and of the port where nobody else knows it.

    Raises:
        MetadataUnavailable: It cannot be read, and nobody else says how we are reached.
    """
    path = search.settings.metadata_file
    if not path:
        search.note("", "not asked: ECS_CONTAINER_METADATA_FILE is not set")
        return Finding()
    search.note(path, "")
    # how we are reached, and by which port, stands in its second version alone
    read = _read_ready if search.reached is None else _read
    try:
        found = insist(lambda: read(path), within_s=PATIENCE_S)
    except MetadataUnavailable as fault:
        if search.reached is None:
            raise
        search.why_no_ip.append(str(fault))
        search.note(path, str(fault))
        return Finding()
    finding = _judge(found, search)
    said = [f"the host is {found.host_ip}" if found.host_ip else "no ip of the host"]
    if found.container.ports:
        said += [f"{inside} is port {outside}" for inside, outside in found.container.ports.items()]
    search.note(path, ", ".join(said))
    return finding


def _judge(found: MetadataFile, search: Search) -> Finding:
    container, settings = found.container, search.settings
    if search.reached is not None:
        # how we are reached is known; in awsvpc mode even everything is
        return Finding(found.host_ip)
    if container.mode == AWSVPC:
        return Finding(container.ip, settings.port, Reached.AT_ITS_OWN)
    if container.mode == HOST:
        return Finding(found.host_ip, settings.port, Reached.BY_THE_HOST)
    # who has task metadata, and no answer from there, may have been restarted: the file has the
    # port of the first start for ever, and does not say so
    is_ours = settings.container in {"", container.name} and settings.task_url is None
    port = container.ports.get(settings.port, 0) if is_ours else 0
    return Finding(found.host_ip, port, Reached.THROUGH_THE_HOST)


def _read_ready(path: str) -> MetadataFile:
    found = _read(path)
    if not found.is_ready:
        raise MetadataUnavailable(f"{path} is not READY", may_pass=True)
    return found


def _read(path: str) -> MetadataFile:
    try:
        with Path(path).open("rb") as file:
            raw = file.read(BODY_MOST)
    except OSError as exc:
        raise MetadataUnavailable(
            f"{path} cannot be read ({exc.strerror})", may_pass=True
        ) from None
    return parse_document(raw, MetadataFile.parse, otherwise=f"{path} is no metadata file of ECS")
