"""Which frontends have not followed yet. Pure."""

from collections.abc import Iterable

from registry.records import FrontendRecord


def behind(record: FrontendRecord, living: Iterable[FrontendRecord]) -> int:
    """Revisions between the newest that a living frontend has applied and a frontend's own.

    A list tells a frontend of the store's newest revision, whatever was written there: who serves
    the same routes as the newest is not behind it.
    """
    newest = max(living, key=lambda one: one.revision, default=record)
    if newest.revision <= record.revision or (record.table and record.table == newest.table):
        return 0
    return newest.revision - record.revision
