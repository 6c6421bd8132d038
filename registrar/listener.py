"""Who is told how a registration gets on."""

from registry.records import Address, InstanceRecord
from registry.registrations import Registered


class Listener:
    """Whoever wants to know how a registration gets on; each is told once, and must not wait."""

    def located(self, address: Address) -> None:
        """It is about to be registered, at this address; told before each try until one succeeds.

        A glance at the service may take a tenth of a second.
        """

    def tried(self) -> None:
        """The first attempt is over, whatever came of it."""

    def registered(self, done: Registered, record: InstanceRecord) -> None:
        """It was registered for the first time."""

    def ready(self, revision: int) -> None:
        """It was written as ready for the first time, at this revision."""
