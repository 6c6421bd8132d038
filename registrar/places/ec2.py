"""EC2 instance metadata: the ip of the instance that a container is reached through.

Asked only where ECS says that this is how we are reached, or where somebody names the endpoint.
On its own an instance's ip says nothing: a container of a Docker network is reached at its own.
"""

from registrar.aws.endpoint import insist
from registrar.aws.instance_metadata import LOCAL_IPV4, InstanceMetadata
from registrar.places.search import Finding, Reached, Search
from registry.faults import MetadataUnavailable

THROUGH = frozenset({Reached.BY_THE_HOST, Reached.THROUGH_THE_HOST})

PATIENCE_S = 3.0
"""Time for three tries of a second each: at an instance's start much else asks as well."""


def look(search: Search, metadata: InstanceMetadata | None) -> Finding:
    """The instance's ip; that it is not told is no fault yet."""
    if metadata is None:
        reason = "AWS_EC2_METADATA_DISABLED is set"
        search.why_no_ip.append(reason)
        search.note("", f"not asked: {reason}")
        return Finding()
    if search.ip is not None:
        search.note("", "not asked: it knows no port")
        return Finding()
    settings = search.settings
    is_named = settings.is_on_ec2 and settings.task_url is None and search.reached is None
    if search.reached not in THROUGH and not is_named:
        search.note("", "not asked: nothing says that we are reached through an EC2 instance")
        return Finding()
    asked = f"GET {metadata.url}/latest/meta-data/{LOCAL_IPV4}"
    try:
        ip = insist(metadata.local_ip, within_s=PATIENCE_S)
    except MetadataUnavailable as fault:
        search.why_no_ip.append(str(fault))
        search.note(asked, str(fault))
        return Finding()
    search.note(asked, ip)
    return Finding(ip)
