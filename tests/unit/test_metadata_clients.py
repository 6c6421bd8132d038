"""Included: how AWS's two endpoints are asked: how often, for how long, and what is made of what
comes back. Real connections on loopback; the time of rations and pauses passes on a clock of ours.
"""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.aws.endpoint import (
    BODY_MOST,
    PAUSE_FIRST_S,
    PAUSE_MOST_S,
    Base,
    Endpoint,
    Silence,
    insist,
    parse_base,
)
from registrar.aws.instance_metadata import InstanceMetadata
from registrar.aws.ration import Ration
from registrar.aws.task_metadata import TaskMetadata
from registrar.exchange import Response, exchange
from registrar.instance import instance_id_of
from registry.faults import MetadataUnavailable
from tests.fakes.metadata import GARBAGE, TTL, MetadataServer, many_megabytes
from tests.fakes.spare_time import SpareTime
from tests.system.origin import refusing

TASK_ID = "7c1f0b6c2f0e4d0f9b7a1d2e3f405162"

SLACK = 1e-6
"""What a float may be off by when so many pauses were added up."""


@pytest.fixture(name="aws")
def _aws() -> Iterator[MetadataServer]:
    with MetadataServer() as aws:
        yield aws


@pytest.fixture(name="time")
def _time() -> SpareTime:
    return SpareTime()


def tasks(aws: MetadataServer, time: SpareTime) -> TaskMetadata:
    return TaskMetadata(parse_base(aws.task_url), clock=time.clock, sleep=time.wait)


def instances(aws: MetadataServer, time: SpareTime) -> InstanceMetadata:
    return InstanceMetadata(parse_base(aws.url), clock=time.clock, sleep=time.wait)


@contextmanager
def saying(*answers: bytes) -> Iterator[str]:
    """A server that says what it was told to, to one connection each, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            for answer in answers:
                link, _ = listener.accept()
                with link:
                    link.recv(65536)
                    link.sendall(answer)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


def ok(body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, body)


def ask(url: str, time: SpareTime | None = None) -> Response:
    time = time or SpareTime()
    ration = Ration(burst=9, rate=1)
    return Endpoint(parse_base(url), ration, clock=time.clock, sleep=time.wait).ask("/task")


# the ration


@given(
    burst=st.integers(1, 20),
    rate=st.floats(0.01, 50),
    idle=st.lists(st.floats(0, 30) | st.just(0.0), min_size=1, max_size=60),
)
def test_in_no_span_of_time_is_more_asked_than_the_ration_allows(
    burst: int, rate: float, idle: list[float]
) -> None:
    """However many threads ask: each takes its turn when it comes, and sends when that is due."""
    ration, now, sent = Ration(burst=burst, rate=rate), 0.0, list[float]()
    for pause_s in idle:
        now += pause_s
        sent.append(now + ration.pause_s(now))
        ration.take(now)

    for first, since in enumerate(sent):
        for last in range(first, len(sent)):
            allowed = burst + rate * (sent[last] - since)
            assert last - first + 1 <= allowed * (1 + SLACK) + SLACK


@given(st.integers(1, 20), st.floats(0.01, 50), st.floats(0, 1e6))
def test_the_burst_may_be_asked_at_once_however_long_it_took_to_come(
    burst: int, rate: float, idle_s: float
) -> None:
    ration = Ration(burst=burst, rate=rate)
    ration.pause_s(0)

    for _ in range(burst):
        assert ration.pause_s(idle_s) == 0
        ration.take(idle_s)

    assert ration.pause_s(idle_s) == pytest.approx(1 / rate)


def test_a_process_takes_its_share_of_what_the_agent_answers(
    aws: MetadataServer, time: SpareTime
) -> None:
    """40 a second and 60 at once are for all tasks of an instance; a hundred have to do."""
    metadata, sent = tasks(aws, time), list[float]()

    for _ in range(25):
        metadata.task()
        sent.append(time.now_s)

    assert sent[:4] == [0, 0, 0, 0]
    gaps = [later - sooner for sooner, later in pairwise(sent[3:])]
    assert gaps == [pytest.approx(2.5)] * 21


def test_the_own_container_and_the_task_have_one_ration(
    aws: MetadataServer, time: SpareTime
) -> None:
    metadata = tasks(aws, time)

    for _ in range(3):
        metadata.own()
        metadata.task()

    assert time.now_s == pytest.approx(5)


def test_ec2_is_asked_eight_times_at_once_and_then_every_other_second(
    aws: MetadataServer, time: SpareTime
) -> None:
    metadata = instances(aws, time)

    for _ in range(10):
        metadata.read("instance-id")

    # with the token they were 11
    assert len(aws.imds_requests) == 11
    assert time.now_s == pytest.approx(6)


def test_a_task_that_was_just_read_is_not_read_again(aws: MetadataServer, time: SpareTime) -> None:
    metadata = tasks(aws, time)
    for _ in range(4):
        metadata.lately()
    aws.set_health("web", "UNHEALTHY")

    before = metadata.lately()
    time.freeze(2.5)
    after = metadata.lately()

    assert len(aws.requests) == 5
    assert [one.containers[0].health for one in (before, after)] == ["HEALTHY", "UNHEALTHY"]


# where, and how


@pytest.mark.parametrize(
    ("text", "base", "shown"),
    [
        (
            "http://169.254.170.2/v4/abc",
            Base("169.254.170.2", 80, "/v4/abc"),
            "http://169.254.170.2/v4/abc",
        ),
        ("http://127.0.0.1:8080/", Base("127.0.0.1", 8080, ""), "http://127.0.0.1:8080"),
        ("http://[fd00:ec2::254]", Base("fd00:ec2::254", 80, ""), "http://[fd00:ec2::254]"),
        ("http://imds.test:80/a/", Base("imds.test", 80, "/a"), "http://imds.test/a"),
    ],
)
def test_an_endpoint_is_where_its_url_says(text: str, base: Base, shown: str) -> None:
    assert parse_base(text) == base
    assert str(base) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "169.254.170.2/v4",
        "https://169.254.170.2/v4",
        "http://",
        "http:///v4",
        "http://[::1/v4",
        "http://host:port/v4",
        "http://host:65536/v4",
        "http://host:0/v4",
        "http://host/v4?id=1",
        "http://host/v4\r\nX: y",
        "http://host/v 4",
        "http://höst/v4",
        "file:///etc/passwd",
        # names that cannot be one
        "http://a..b/v4",
        f"http://{'x' * 64}/v4",
    ],
)
def test_what_is_no_such_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected http://host:port/path"):
        parse_base(text)


@given(st.text())
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://host{text}"):
        try:
            base = parse_base(candidate)
        except ValueError:
            continue
        assert base.host
        assert 0 < base.port < 65536
        assert str(base).isascii()
        assert str(base).isprintable()
        assert parse_base(str(base)) == base


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
def test_no_proxy_is_asked(
    aws: MetadataServer, time: SpareTime, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        instances(aws, time).local_ip()
        tasks(aws, time).task()
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_nobody_listens() -> None:
    with (
        refusing() as address,
        pytest.raises(MetadataUnavailable, match=r"no connection \(Connection refused\)") as caught,
    ):
        ask(f"http://{address}")
    assert caught.value.may_pass


def test_who_takes_a_request_and_never_answers_is_left_after_a_second(aws: MetadataServer) -> None:
    aws.task_mode = "silent"

    with pytest.raises(Silence, match="/task: no answer within 1 s") as caught:
        ask(aws.task_url)
    assert caught.value.may_pass


def test_who_sends_a_byte_now_and_then_is_left_as_well(aws: MetadataServer) -> None:
    """Each comes in time; all of them do not."""
    aws.task_mode = "trickling"
    ticks = count()

    class Hasty(SpareTime):
        def clock(self) -> float:
            return next(ticks) * 0.1

    # whoever reads on is let go of then, and has got an answer
    end = threading.Timer(5, aws.ended.set)
    end.start()
    with pytest.raises(Silence):
        ask(aws.task_url, Hasty())
    end.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 ",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"\x00\xff" * 1000,
    ],
)
def test_what_is_no_http_is_one_sentence(answer: bytes) -> None:
    with saying(answer) as url, pytest.raises(MetadataUnavailable) as caught:
        ask(url)

    assert caught.value.may_pass
    assert str(caught.value).startswith(f"GET {url}/task: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("body", [b"", b"10.0.3.1"])
def test_a_body_that_breaks_off_is_no_answer(body: bytes) -> None:
    """Of an ip the first characters are an ip as well."""
    with saying(ok(body, length=9)) as url, pytest.raises(MetadataUnavailable) as caught:
        ask(url)
    assert caught.value.may_pass


def test_a_body_that_is_too_long_is_not_read_to_its_end(
    aws: MetadataServer, time: SpareTime
) -> None:
    aws.task_garbage = many_megabytes(aws.task_document)

    with pytest.raises(MetadataUnavailable, match=f"more than {BODY_MOST} bytes"):
        tasks(aws, time).task()


def test_a_body_may_be_as_long_as_is_read(aws: MetadataServer) -> None:
    aws.task_garbage = b" " * BODY_MOST

    assert len(ask(aws.task_url).body) == BODY_MOST
    with saying(b"HTTP/1.1 200 OK\r\n\r\nuntil the end") as url:
        assert ask(url).body == b"until the end"
    with saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    ) as url:
        assert ask(url).body == b"ab"


def test_no_time_is_no_request() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(TimeoutError):
            exchange(ours, "GET", "/", headers={"Host": "x"}, left_s=lambda: 0.0)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


# who may fail for a moment


def failing(times: int, *, may_pass: bool = True) -> Callable[[], str]:
    tries = count(1)

    def work() -> str:
        number = next(tries)
        if number <= times:
            raise MetadataUnavailable(f"try {number}", may_pass=may_pass)
        return "done"

    return work


def persist(work: Callable[[], str], time: SpareTime, within_s: float = 60.0) -> str:
    rng = random.Random(7)  # noqa: S311 - spreads tries, guards nothing
    return insist(work, within_s=within_s, clock=time.clock, sleep=time.wait, rng=rng)


def test_what_works_at_once_is_not_waited_for(time: SpareTime) -> None:
    assert persist(failing(0), time) == "done"
    assert time.waits == []


def test_pauses_double_and_have_an_upper_end(time: SpareTime) -> None:
    assert persist(failing(7), time) == "done"

    wanted = [0.25, 0.5, 1, 2, 2.5, 2.5, 2.5]
    assert time.waits == [pytest.approx(pause_s, rel=0.1) for pause_s in wanted]
    # they vary: who started together does not ask together
    assert all(pause_s != exact for pause_s, exact in zip(time.waits, wanted, strict=True))


def test_what_does_not_pass_by_itself_is_told_at_once(time: SpareTime) -> None:
    with pytest.raises(MetadataUnavailable, match="try 1"):
        persist(failing(1, may_pass=False), time)
    assert time.waits == []


@given(st.floats(0, 60), st.floats(0, 3))
def test_no_try_begins_when_the_time_is_over(within_s: float, each_s: float) -> None:
    time, begun = SpareTime(), list[float]()

    def work() -> str:
        begun.append(time.now_s)
        time.freeze(each_s)
        raise MetadataUnavailable(f"try {len(begun)}", may_pass=True)

    with pytest.raises(MetadataUnavailable) as caught:
        persist(work, time, within_s)

    assert str(caught.value) == f"try {len(begun)}"
    # a pause may be a tenth longer than it was thought to be
    assert all(at <= within_s + 0.1 * PAUSE_MOST_S for at in begun)
    # and one more would have begun too late
    pause_s = min(PAUSE_MOST_S, PAUSE_FIRST_S * 2 ** (len(begun) - 1))
    assert begun[-1] + each_s + pause_s > within_s


# the task


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_a_sentence_and_may_pass_or_says_nothing(
    name: str, aws: MetadataServer, time: SpareTime
) -> None:
    aws.task_garbage = GARBAGE[name]

    for read in (tasks(aws, time).task, tasks(aws, time).own):
        try:
            read()
        except MetadataUnavailable as fault:
            assert fault.may_pass
            assert "is no such document: " in str(fault)
            assert str(fault).isprintable()


def test_what_is_no_text_is_told_without_its_bytes(aws: MetadataServer, time: SpareTime) -> None:
    aws.task_garbage = GARBAGE["bytes that are no text"]

    with pytest.raises(MetadataUnavailable, match=r"no such document: it is not UTF-8$"):
        tasks(aws, time).task()


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("task_limited", 1, r"/task answered 429: the tasks of this instance ask too often"),
        ("task_mode", "broken", r"/task answered 500: the agent has a fault of its own"),
        ("task_id", "another", r"/task answered 404: the agent knows no such container"),
    ],
)
def test_what_the_agent_refuses_is_explained_and_may_pass(
    aws: MetadataServer, time: SpareTime, setting: str, value: Any, sentence: str
) -> None:
    metadata = tasks(aws, time)
    before = getattr(aws, setting)
    setattr(aws, setting, value)

    with pytest.raises(MetadataUnavailable, match=sentence) as caught:
        metadata.task()
    setattr(aws, setting, before)

    assert caught.value.may_pass
    assert len(metadata.task().containers) == 2


def test_an_instance_is_named_after_its_task_and_the_container_that_serves(
    aws: MetadataServer, time: SpareTime
) -> None:
    aws.own_name = "registrar"
    metadata = tasks(aws, time)

    assert instance_id_of(metadata, "web") == f"{TASK_ID}-web"
    assert instance_id_of(metadata, "") == f"{TASK_ID}-registrar"
    # what stands before the last hyphen is the task's, whatever its containers are called
    assert instance_id_of(metadata, "shop-web") == f"{TASK_ID}-shop_web"
    # a registrar that starts anew is the same
    assert instance_id_of(tasks(aws, time), "web") == f"{TASK_ID}-web"


def nameless(aws: MetadataServer) -> None:
    del aws.own_document["Labels"]


def controlled(aws: MetadataServer) -> None:
    aws.own_document["Labels"]["com.amazonaws.ecs.task-arn"] = "a/b\x1b[31m"


def endless(aws: MetadataServer) -> None:
    aws.own_document["Labels"]["com.amazonaws.ecs.task-arn"] = "x" * 600


def broken(aws: MetadataServer) -> None:
    aws.task_mode = "broken"


@pytest.mark.parametrize("spoil", [nameless, controlled, endless, broken])
def test_an_instance_that_ecs_does_not_name_is_named_after_its_host(
    aws: MetadataServer, time: SpareTime, spoil: Callable[[MetadataServer], None]
) -> None:
    spoil(aws)
    metadata = tasks(aws, time)

    first, second = instance_id_of(metadata, ""), instance_id_of(metadata, "")

    assert first.startswith(socket.gethostname()[:64])
    assert first != second


# the instance


def test_one_token_is_for_everything(aws: MetadataServer, time: SpareTime) -> None:
    metadata = instances(aws, time)

    assert metadata.read("instance-id") == "i-0a1b2c3d4e5f60718"
    assert metadata.read("placement/availability-zone") == "eu-west-1a"

    put, *gets = aws.imds_requests
    assert (put.method, put.path, put.headers[TTL]) == ("PUT", "/latest/api/token", "21600")
    assert {one.method for one in gets} == {"GET"}
    tokens = {one.headers["x-aws-ec2-metadata-token"] for one in gets}
    assert len(gets) == 2
    assert len(tokens) == 1


@pytest.mark.parametrize("tokens", ["optional", "required"])
def test_version_1_is_never_asked(aws: MetadataServer, time: SpareTime, tokens: Any) -> None:
    """Not even where nobody would mind, and not when no token is to be had."""
    aws.imds_tokens = tokens
    metadata = instances(aws, time)
    metadata.local_ip()
    aws.expire_tokens()
    metadata.read("instance-id")
    aws.expire_tokens()
    aws.imds_throttled = 2
    for mode in ("normal", "disabled"):
        aws.imds_mode = mode
        with pytest.raises(MetadataUnavailable):
            metadata.read("instance-id")

    gets = [one for one in aws.imds_requests if one.method == "GET"]
    assert gets
    assert all("x-aws-ec2-metadata-token" in one.headers for one in gets)
    assert not any("x-forwarded-for" in one.headers for one in aws.imds_requests)


def test_a_token_that_has_ended_is_renewed(aws: MetadataServer, time: SpareTime) -> None:
    metadata = instances(aws, time)
    metadata.read("instance-id")
    aws.expire_tokens()

    assert metadata.read("instance-id")

    seen = [(one.method, one.status) for one in aws.imds_requests]
    assert seen[2:] == [("GET", 401), ("PUT", 200), ("GET", 200)]


def test_a_token_that_is_never_taken_is_not_renewed_for_ever(time: SpareTime) -> None:
    refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    with saying(ok(b"one"), refused, ok(b"two"), refused) as url:
        metadata = InstanceMetadata(parse_base(url), clock=time.clock, sleep=time.wait)
        with pytest.raises(MetadataUnavailable, match="401 to a token that it had just") as caught:
            metadata.local_ip()
    assert caught.value.may_pass


@pytest.mark.parametrize(
    "token", [b"", b"\n", b"a\r\nX-Forwarded-For: 10.0.0.1", b"\xff", b"a\x00"]
)
def test_what_is_no_token_is_never_sent(token: bytes, time: SpareTime) -> None:
    with saying(ok(token)) as url:
        metadata = InstanceMetadata(parse_base(url), clock=time.clock, sleep=time.wait)
        with pytest.raises(MetadataUnavailable, match="gave no token") as caught:
            metadata.local_ip()
    assert str(caught.value).isprintable()


def test_the_ip_is_asked_once_for_life(aws: MetadataServer, time: SpareTime) -> None:
    metadata = instances(aws, time)

    assert {metadata.local_ip() for _ in range(5)} == {"10.0.3.17"}
    assert len(aws.imds_requests) == 2


@pytest.mark.parametrize(
    "text",
    ["", "10.0.3", "10.0.3.17, 10.0.3.18", "fd00::7", "<html>", "\x1b[31m10.0.3.17", "1" * 99],
)
def test_what_is_no_ip_of_an_instance_is_refused(
    aws: MetadataServer, time: SpareTime, text: str
) -> None:
    aws.leaves["local-ipv4"] = text

    with pytest.raises(MetadataUnavailable, match="as the instance's ip") as caught:
        instances(aws, time).local_ip()
    assert str(caught.value).isprintable()


def test_what_an_instance_does_not_have_is_none(aws: MetadataServer, time: SpareTime) -> None:
    metadata = instances(aws, time)

    assert metadata.read("spot/instance-action") is None
    del aws.leaves["local-ipv4"]
    with pytest.raises(MetadataUnavailable, match="gave '' as the instance's ip"):
        metadata.local_ip()


def test_metadata_that_is_turned_off_does_not_come_back_by_itself(
    aws: MetadataServer, time: SpareTime
) -> None:
    aws.imds_mode = "disabled"

    with pytest.raises(MetadataUnavailable, match="answered 403: metadata is turned off") as fault:
        instances(aws, time).local_ip()
    assert not fault.value.may_pass


def test_metadata_that_is_asked_too_often_may_answer_in_a_moment(
    aws: MetadataServer, time: SpareTime
) -> None:
    aws.imds_throttled = 1
    metadata = instances(aws, time)

    with pytest.raises(MetadataUnavailable, match="503: asked too often") as caught:
        metadata.local_ip()

    assert caught.value.may_pass
    assert metadata.local_ip() == "10.0.3.17"


def test_an_answer_that_does_not_come_is_the_hop_limits(
    aws: MetadataServer, time: SpareTime
) -> None:
    """Everything gets there, and the answer to the PUT alone is not let into a container."""
    aws.imds_mode = "hop1"

    with pytest.raises(MetadataUnavailable, match="HttpPutResponseHopLimit to 2") as caught:
        instances(aws, time).local_ip()

    assert caught.value.may_pass
    assert [one.method for one in aws.imds_requests] == ["PUT"]


@pytest.mark.parametrize("status", [400, 405, 302, 200])
def test_what_answers_there_and_is_not_ec2_is_told(time: SpareTime, status: int) -> None:
    answer = b"HTTP/1.1 %d Some\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n" % status
    with saying(answer) as url:
        metadata = InstanceMetadata(parse_base(url), clock=time.clock, sleep=time.wait)
        with pytest.raises(MetadataUnavailable, match=r"no EC2 metadata|gave no token") as caught:
            metadata.local_ip()
    assert not caught.value.may_pass
