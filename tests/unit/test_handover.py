"""The queue of one between the thread that follows etcd and the one that reads."""

import threading

from registry.handover import Handover

DEADLINE_S = 5.0


def test_things_arrive_in_order_and_one_at_a_time() -> None:
    handover: Handover[int] = Handover()
    offered: list[int] = []

    def offer() -> None:
        for number in range(5):
            handover.offer(number)
            offered.append(number)

    thread = threading.Thread(target=offer)
    thread.start()
    taken: list[int | None] = []
    for _ in range(5):
        assert len(offered) <= len(taken) + 2
        taken.append(handover.take())
    thread.join(DEADLINE_S)
    assert taken == offered == [0, 1, 2, 3, 4]


def test_the_end_frees_both_sides_and_drops_what_waits() -> None:
    handover: Handover[int] = Handover()
    handover.offer(1)
    blocked = threading.Thread(target=handover.offer, args=(2,))
    blocked.start()
    handover.end()
    blocked.join(DEADLINE_S)
    assert not blocked.is_alive()
    assert handover.take() is None
    handover.offer(3)
    handover.wait(DEADLINE_S)
    assert handover.ended


def test_a_taker_that_waits_is_freed_by_the_end() -> None:
    handover: Handover[int] = Handover()
    taken: list[int | None] = []
    taker = threading.Thread(target=lambda: taken.append(handover.take()))
    taker.start()
    handover.end()
    taker.join(DEADLINE_S)
    assert taken == [None]


def test_a_pause_lasts_its_time_unless_it_ends() -> None:
    handover: Handover[int] = Handover()
    handover.wait(0)
    assert not handover.ended
