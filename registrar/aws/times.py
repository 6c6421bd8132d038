"""Whether all that is waited for at the end fits into the time that ECS and EC2 leave. Pure.

Source:
    Amazon ECS Developer Guide, task definition parameters (``stopTimeout``), and Amazon EC2 User
    Guide, "Spot Instance interruption notices".
"""

NOTICE_S = 120.0
"""From a Spot notice to the end of the instance."""

STOP_TIMEOUT_S = 30.0
"""What ECS gives a container whose definition has no ``stopTimeout``."""


def check_times(
    leaves_within_s: float, stop_timeout_s: float, *, comes_first: bool
) -> tuple[str, ...]:
    """What would be cut short, a sentence each.

    Args:
        leaves_within_s: At most that the registrar takes from SIGTERM on.
        stop_timeout_s: Until its container is killed.
        comes_first: The service is told to end when the registrar has ended, as a container of its
            own; else within the same time.
    """
    warnings: list[str] = []
    if leaves_within_s >= stop_timeout_s:
        warnings.append(
            f"leaving may take {leaves_within_s:.0f} s (RELEASE_TIMEOUT, DRAIN and the registry's"
            f" answers), and ECS kills this container after {stop_timeout_s:g} s; give it a longer"
            " stopTimeout, and STOP_TIMEOUT the same, or make RELEASE_TIMEOUT or DRAIN shorter"
        )
    gone = f"a Spot instance is gone {NOTICE_S:.0f} s after its notice"
    if comes_first and leaves_within_s + STOP_TIMEOUT_S >= NOTICE_S:
        warnings.append(
            f"leaving may take {leaves_within_s:.0f} s and the service's own end"
            f" {STOP_TIMEOUT_S:.0f} s, and {gone}; make RELEASE_TIMEOUT or DRAIN shorter"
        )
    elif not comes_first and stop_timeout_s > NOTICE_S:
        warnings.append(
            f"STOP_TIMEOUT is {stop_timeout_s:g} s, and {gone}: more is cut short there"
        )
    return tuple(warnings)
