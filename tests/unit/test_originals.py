"""The keys behind what is shown of them, however strange they are."""

from hypothesis import given
from hypothesis import strategies as st

from regenerator.dashboard.originals import originals
from registry.keys import SHOWN_MAX, shown
from registry.snapshot import Entry

keys = st.sets(
    st.binary(max_size=20)
    | st.binary(min_size=SHOWN_MAX - 1, max_size=SHOWN_MAX + 2)
    | st.integers(SHOWN_MAX - 2, SHOWN_MAX + 2).map(lambda length: b"x" * length)
    | st.sampled_from(
        [
            b"/branchfront/routes/main/web",
            b"\\xff",
            b"\xff",
            "…".encode(),
            # what is shown of the one may stand as a key of its own
            b"x" * (SHOWN_MAX + 1),
            shown(b"x" * (SHOWN_MAX + 1)).encode(),
        ]
    ),
    max_size=8,
)


@given(keys, keys, st.data())
def test_every_key_is_found_by_what_is_shown_of_it(
    some: set[bytes], others: set[bytes], data: st.DataObject
) -> None:
    known = [{raw: Entry(raw, b"", 1, 1, 0) for raw in group} for group in (some, others)]
    texts = data.draw(st.sets(st.sampled_from(sorted(map(shown, some | others)) or ["none"])))

    found = originals(texts, *known)

    assert {*found.values()} == {text for text in texts if text != "none"}
    assert all(shown(raw) == text for raw, text in found.items())
    assert found.keys() <= some | others


def test_what_nobody_has_is_not_found() -> None:
    assert originals({"/branchfront/routes/a/b", f"{'x' * SHOWN_MAX}…deadbeef"}, {}) == {}
