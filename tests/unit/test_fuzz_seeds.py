"""What the fuzzer runs for minutes, for a moment: its seeds, and bytes drawn at random."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import ENTRY, KEY, TARGETS

pieces = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([ENTRY, KEY, b"\xff", b"\n", b"/", b"%2F", b"%0A", b"{", b"}", b";", b'"']),
    st.sampled_from(
        [piece for found in SEEDS.values() for seed in found for piece in (seed, seed[:9])]
    ),
)
"""Bytes that mean something to one of the targets, and such as mean nothing."""


@pytest.mark.parametrize(
    ("target", "seed"),
    [
        pytest.param(target, seed, id=f"{target}-{number}")
        for target, found in SEEDS.items()
        for number, seed in enumerate(found)
    ],
)
def test_a_seed_finds_nothing(target: str, seed: bytes) -> None:
    TARGETS[target](seed)


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_is_put_together_finds_nothing(target: str) -> None:
    # some of them render whole trees, which takes 10 ms
    @settings(max_examples=25)
    @given(st.lists(pieces, max_size=8).map(b"".join))
    def run(data: bytes) -> None:
        TARGETS[target](data)

    run()


def test_every_target_has_seeds() -> None:
    assert SEEDS.keys() == TARGETS.keys()
