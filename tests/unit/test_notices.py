"""Included: what is read of EC2's notices, how often they are asked for, and who is told. The
notices come from the fake of EC2, over loopback; the time between two looks passes on a clock.
"""

import json
import logging
import random
import string
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from time import tzset
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.aws.endpoint import parse_base
from registrar.aws.instance_metadata import InstanceMetadata
from registrar.aws.notices import LOOK_S, RETRY_MOST_S, Notice, NoticeWatch, parse_action
from tests.fakes.metadata import REBALANCE, SPOT, MetadataServer, sample
from tests.fakes.spare_time import SpareTime

LIFE_CYCLE = "instance-life-cycle"

AT = datetime(2026, 11, 21, 8, 22, tzinfo=UTC)
TODAY_S = AT.timestamp() - 3600


@pytest.fixture(name="aws")
def _aws() -> Iterator[MetadataServer]:
    with MetadataServer() as aws:
        aws.leaves[LIFE_CYCLE] = "spot"
        yield aws


@pytest.fixture(name="time")
def _time() -> SpareTime:
    return SpareTime()


def watch(aws: MetadataServer, time: SpareTime, *, until_s: float = 3600.0) -> list[Notice]:
    """Watch to the end; what was heeded."""
    heeded: list[Notice] = []
    metadata = InstanceMetadata(parse_base(aws.url), clock=time.clock, sleep=time.freeze)
    rng = random.Random(7)  # noqa: S311 - spreads questions, guards nothing
    time.stop_at(until_s)
    watch = NoticeWatch(
        metadata, heed=heeded.append, wait=time.wait, now=lambda: TODAY_S + time.now_s, rng=rng
    )
    watch.run()
    return heeded


def asked(aws: MetadataServer, path: str) -> int:
    return sum(one.path.endswith(path) for one in aws.imds_requests)


@pytest.mark.parametrize(
    ("action", "words"),
    [("terminate", "terminate"), ("stop", "stop"), ("hibernate", "hibernate")],
)
def test_a_notice_says_what_and_when(action: str, words: str) -> None:
    document = sample(f"imds-spot-instance-action-{action}.json")

    notice = parse_action(json.dumps(document))

    at = document["time"]
    assert notice.text == f"EC2 is going to {words} this Spot instance at {at}"
    assert notice.at == datetime.fromisoformat(at).timestamp()


@pytest.mark.parametrize("action", ["\x1b[31mexplode", "", None, 7, ["terminate"], {}])
def test_an_action_that_is_new_is_no_word_of_ours(action: Any) -> None:
    notice = parse_action(json.dumps({"action": action, "time": "2026-11-21T08:22:00Z"}))

    assert notice == Notice(
        "EC2 is going to take away this Spot instance at 2026-11-21T08:22:00Z", AT.timestamp()
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"action": "terminate"}',
        '{"action": "terminate", "time": 1763713320}',
        '{"action": "terminate", "time": "2026-11-21 08:22"}',
        '{"action": "terminate", "time": "2026-13-41T08:22:00Z"}',
        '{"action": "terminate", "time": ""}',
    ],
)
def test_what_is_no_notice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time|time is none|no JSON"):
        parse_action(text)


@given(
    st.text()
    | st.builds(
        lambda action, time: json.dumps({"action": action, "time": time}),
        st.text() | st.none() | st.lists(st.text()),
        st.text(string.digits + "-:TZ ", max_size=25) | st.datetimes().map(str) | st.integers(),
    )
)
def test_any_text_is_a_notice_or_refused(text: str) -> None:
    try:
        notice = parse_action(text)
    except ValueError:
        return
    assert notice.text.isprintable()
    assert isinstance(notice.at, float)


def test_the_time_of_a_notice_is_not_that_of_the_place_where_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Kolkata")
        tzset()
        notice = parse_action('{"action": "stop", "time": "2026-11-21T08:22:00Z"}')
    tzset()

    assert notice.at == AT.timestamp()


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 31)))  # noqa: DTZ001 - drawn as UTC
def test_the_time_of_a_notice_is_utc(at: datetime) -> None:
    at = at.replace(microsecond=0, tzinfo=UTC)
    zulu = at.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")

    assert parse_action(json.dumps({"action": "stop", "time": zulu})).at == at.timestamp()


@pytest.mark.parametrize("kind", ["on-demand", "capacity-block", "\x1b[31mspot"])
def test_where_no_notice_can_come_it_is_told_once_and_nobody_asks_again(
    aws: MetadataServer, time: SpareTime, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    aws.leaves[LIFE_CYCLE] = kind

    assert watch(aws, time) == []

    assert len(aws.imds_requests) == 2
    assert time.waits == []
    (line,) = caplog.messages
    assert line == f"SPOT_NOTICE: this instance is {kind.strip()}, so no notice will come"


def test_an_instance_without_a_life_cycle_is_not_watched(
    aws: MetadataServer, time: SpareTime, caplog: pytest.LogCaptureFixture
) -> None:
    """The path came in 2019; what does not have it is not EC2's own."""
    caplog.set_level(logging.INFO)
    del aws.leaves[LIFE_CYCLE]

    assert watch(aws, time) == []
    assert "this instance is unknown" in caplog.text


def test_a_spot_instance_is_asked_for_every_five_seconds(
    aws: MetadataServer, time: SpareTime
) -> None:
    assert watch(aws, time, until_s=60.0) == []

    assert asked(aws, LIFE_CYCLE) == 1
    assert 11 <= asked(aws, SPOT) <= 14
    # a recommendation sets no date: once in half a minute
    assert asked(aws, REBALANCE) in {2, 3}
    assert all(0.9 * LOOK_S <= pause_s <= 1.1 * LOOK_S for pause_s in time.waits)
    assert len(set(time.waits)) > 1


def test_a_notice_is_heeded_once_and_is_the_last(aws: MetadataServer, time: SpareTime) -> None:
    time.at(12, lambda: aws.announce_spot("stop", at=AT))

    (notice,) = watch(aws, time)

    assert notice.at == AT.timestamp()
    assert asked(aws, SPOT) == 4
    assert 12 <= time.now_s <= 12 + 1.1 * LOOK_S


def test_a_recommendation_is_heeded_once_and_a_notice_after_it(
    aws: MetadataServer, time: SpareTime
) -> None:
    aws.recommend_rebalance(at=AT)
    time.at(100, lambda: aws.announce_spot("terminate", at=AT))

    first, second = watch(aws, time)

    assert first == Notice("EC2 recommends to leave this Spot instance", None)
    assert second.at == AT.timestamp()
    assert asked(aws, REBALANCE) == 1


def test_both_at_once_are_one_notice(aws: MetadataServer, time: SpareTime) -> None:
    aws.recommend_rebalance()
    aws.announce_spot(at=AT)

    assert [notice.at for notice in watch(aws, time)] == [AT.timestamp()]


def test_a_notice_that_cannot_be_read_is_heeded_all_the_same(
    aws: MetadataServer, time: SpareTime, caplog: pytest.LogCaptureFixture
) -> None:
    aws.leaves[SPOT] = "soon\x1b[31m"

    (notice,) = watch(aws, time)

    assert notice.text == "EC2 is going to take this Spot instance away within two minutes"
    assert notice.at == TODAY_S + 120
    (line,) = caplog.messages
    assert line.startswith("a Spot notice cannot be read, and is heeded all the same: ")
    assert line.isprintable()


def test_who_does_not_answer_is_asked_ever_more_seldom_and_it_is_told_once(
    aws: MetadataServer, time: SpareTime, caplog: pytest.LogCaptureFixture
) -> None:
    aws.imds_throttled = 10**6

    assert watch(aws, time, until_s=1000.0) == []

    wanted = [10.0, 20.0, 40.0] + [RETRY_MOST_S] * (len(time.waits) - 3)
    assert time.waits == [pytest.approx(pause_s, rel=0.1) for pause_s in wanted]
    assert len([line for line in caplog.messages if "notices of EC2 are not heard" in line]) == 1


def recover(aws: MetadataServer) -> None:
    aws.imds_throttled = 0


def reboot(aws: MetadataServer) -> None:
    aws.expire_tokens()


@pytest.mark.parametrize("trouble", [recover, reboot])
def test_a_notice_is_heard_after_trouble(
    aws: MetadataServer, time: SpareTime, trouble: Callable[[MetadataServer], None]
) -> None:
    aws.imds_throttled = 3 if trouble is recover else 0
    time.at(20, lambda: trouble(aws))
    time.at(40, lambda: aws.announce_spot(at=AT))

    assert [notice.at for notice in watch(aws, time)] == [AT.timestamp()]


def test_new_trouble_is_told_anew(
    aws: MetadataServer, time: SpareTime, caplog: pytest.LogCaptureFixture
) -> None:
    def throttle() -> None:
        aws.imds_throttled = 2

    time.at(12, throttle)
    time.at(300, throttle)

    watch(aws, time, until_s=400.0)

    assert len([line for line in caplog.messages if "notices of EC2 are not heard" in line]) == 2


def test_who_is_to_stop_does_not_ask_on(aws: MetadataServer, time: SpareTime) -> None:
    watch(aws, time, until_s=0.0)

    assert asked(aws, SPOT) == 1
