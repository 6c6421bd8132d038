"""The claims that stand, as one program knows them: who carries which label.

Whoever registers a thousand services at once reads the claims once and then keeps count here;
threads may share it, and two of them are never given one label.
"""

import threading
from collections.abc import Iterable, Sequence

from registry.claims import Claim, new_labels
from registry.keys import ClaimKey
from registry.names import long_labels, short_labels


class Standing:
    """All claims at one revision, and those that we have made since.

    Attributes:
        revision: Claims that were created later, by others, are not known.
    """

    def __init__(self, revision: int, claims: Sequence[Claim]) -> None:
        self.revision = revision
        self._claims = {claim.key: claim for claim in claims}
        self._carriers = {label: claim.key for claim in claims for label in claim.labels}
        self._given = {claim.key: claim.labels for claim in claims}
        self._written: dict[ClaimKey, int] = {}
        self._lock = threading.Lock()

    def get(self, key: ClaimKey) -> Claim | None:
        """One claim, if it stands."""
        with self._lock:
            return self._claims.get(key)

    def claims(self) -> tuple[Claim, ...]:
        """All of them."""
        with self._lock:
            return tuple(self._claims.values())

    def written(self) -> tuple[tuple[Claim, int], ...]:
        """Those that we made, each with the revision at which we last wrote it."""
        with self._lock:
            return tuple((self._claims[key], at) for key, at in self._written.items())

    def choose(
        self, key: ClaimKey, *, default_service: str, held: Claim | None = None
    ) -> tuple[str, ...]:
        """The labels for a new claim; they are kept for it until it is noted or forgotten.

        Args:
            held: The claim that there was before; its labels are given again if all are free.

        Raises:
            LabelsExhausted: Every form of a label is taken.
        """
        forms = {*long_labels(key.branch, key.service), *short_labels(key.branch)}
        with self._lock:
            taken = {form for form in forms if self._carriers.get(form, key) != key}
            if held is not None and taken.isdisjoint(held.labels):
                labels = held.labels
            else:
                labels = new_labels(
                    key.branch, key.service, default_service=default_service, taken=taken
                )
            self._give(key, labels)
        return labels

    def forget(self, key: ClaimKey) -> None:
        """Give back the labels that were chosen for a claim which was not written after all."""
        with self._lock:
            if key not in self._claims:
                self._drop_labels(key)

    def note(self, claim: Claim, *, written_at: int) -> None:
        """Note a claim that we have written, at the revision of the write."""
        with self._lock:
            self._written[claim.key] = written_at
            self._add(claim)

    def learn(self, claims: Iterable[Claim], *, revision: int) -> bool:
        """Note claims of others, which make the count good up to a revision.

        Returns:
            Whether one of them carries a label that another claim carries as well.
        """
        contested = False
        with self._lock:
            for claim in claims:
                known = self._claims.get(claim.key)
                if known and known.create_revision == claim.create_revision:
                    continue
                self._written.pop(claim.key, None)
                contested |= any(
                    self._carriers.get(label, claim.key) != claim.key for label in claim.labels
                )
                self._add(claim)
            self.revision = max(self.revision, revision)
        return contested

    def _add(self, claim: Claim) -> None:
        self._claims[claim.key] = claim
        self._drop_labels(claim.key)
        self._give(claim.key, claim.labels)

    def _give(self, key: ClaimKey, labels: tuple[str, ...]) -> None:
        self._given[key] = labels
        for label in labels:
            self._carriers.setdefault(label, key)

    def _drop_labels(self, key: ClaimKey) -> None:
        for label in self._given.pop(key, ()):
            if self._carriers.get(label) == key:
                del self._carriers[label]
