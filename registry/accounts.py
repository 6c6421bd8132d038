"""Etcd's own users: how a fresh registry gets a password, and the proof that nobody came first."""

from registry.etcd import Etcd
from registry.faults import StoreDenied

ROOT = "root"
"""Etcd's name for the user and for the role that may do everything."""


def protect(etcd: Etcd, *, password: str) -> None:
    """Give a fresh registry its root user, and refuse everybody without a password from now on.

    Args:
        etcd: Without user and password: the registry has none yet.
        password: The root user's.

    Raises:
        StoreMisspoken: It has users already.
    """
    etcd.call("auth/user/add", name=ROOT, password=password)
    etcd.call("auth/user/grant", user=ROOT, role=ROOT)
    etcd.call("auth/enable")


def check_untouched(etcd: Etcd) -> None:
    """Make sure that nobody else wrote, or made an account, before the registry was protected.

    Args:
        etcd: With root's password.

    Raises:
        StoreDenied: Somebody did; the registry cannot be trusted.
    """
    users = etcd.call("auth/user/list").get("users", [])
    roles = etcd.call("auth/role/list").get("roles", [])
    # from a zero byte to a zero byte: all keys (etcd's API reference, RangeRequest)
    found = etcd.call("kv/range", key=b"\0", range_end=b"\0", count_only=True)
    # 1 is the revision of a store that was never written to; a key put and deleted shows too
    if (users, roles, found["header"]["revision"]) != ([ROOT], [], "1"):
        raise StoreDenied("somebody wrote to the fresh registry before it had a password")
