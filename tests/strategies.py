"""What properties draw from: names as people and strangers write them, any JSON, any bytes."""

from hypothesis import strategies as st

from registry.keys import PART_MAX_BYTES, check_name
from registry.names import service_slug
from registry.records import PORT_MAX


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except ValueError:
        return False
    return True


def _has_slug(text: str) -> bool:
    try:
        service_slug(text)
    except ValueError:
        return False
    return True


any_text = st.text(max_size=100)

# Few words and few joints, so that slugs collide often.
_branch_like = st.builds(
    lambda words, joint: joint.join(words),
    st.lists(st.sampled_from(["a", "b", "c", "fix", "FIX", "foo", "web", "é"]), min_size=1),
    st.sampled_from(["-", "/", "_", ".", " ", "--"]),
)
branches = st.one_of(_branch_like, any_text.filter(_is_name), st.just("x" * PART_MAX_BYTES))
services = st.one_of(
    st.sampled_from(["web", "api", "b-c", "c", "b/c", "x" * 40]),
    _branch_like.filter(_has_slug),
    any_text.filter(_is_name).filter(_has_slug),
)

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

ports = st.integers(1, PORT_MAX)
