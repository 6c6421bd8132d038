"""Included: that differences add up to the state that they were made of."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from regenerator.dashboard.feed import Sender, State, take
from registry.snapshot import Entry, Snapshot

keys = st.sampled_from([b"/b/routes/a/web", b"/b/routes/b/web", b"/b/claims/a/web", b"/b/x"])
entries = st.dictionaries(keys, st.integers(1, 3)).map(
    lambda found: {
        key: Entry(key, b"v%d" % revision, revision, revision, 0) for key, revision in found.items()
    }
)
states = st.builds(
    State,
    st.builds(Snapshot, st.just("c1"), st.integers(1, 99), entries),
    st.sampled_from(["aaaaaaaaaaaa", "bbbbbbbbbbbb"]),
    st.floats(0, 9),
    st.frozensets(keys),
    st.frozensets(keys),
)


@given(st.lists(states, min_size=1))
def test_whoever_takes_all_messages_has_the_last_state(sent: list[State]) -> None:
    sender, known = Sender(), None
    for state in sent:
        message = pickle.loads(pickle.dumps(sender.served(state, ended=())))  # noqa: S301 - our own
        known = take(known, message)

    assert known == sent[-1]


@given(states)
def test_a_state_that_was_told_is_told_in_no_entries(state: State) -> None:
    sender = Sender()
    sender.served(state, ended=())

    again = sender.served(state, ended=())

    assert (again.written, again.gone) == ((), ())


@given(states, states)
def test_a_sender_that_begins_anew_tells_everything(before: State, state: State) -> None:
    old, new = Sender(), Sender()
    old.served(before, ended=())

    assert take(None, new.served(state, ended=())) == state


def test_what_was_deleted_in_between_goes_with_the_message() -> None:
    gone = Entry(b"/b/routes/a/web/1", b"10.0.0.1:80", 5, 5, 7)
    state = State(Snapshot("c1", 9), "aaaaaaaaaaaa", 1.0)

    assert take(None, Sender().served(state, ended=(gone,))).snapshot.ended == (gone,)
