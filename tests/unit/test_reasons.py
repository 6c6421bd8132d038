"""Why a host is not served: each case from a registry that has it, in HTML and in JSON."""

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from regenerator import templates
from regenerator.dashboard.desk import Desk
from regenerator.dashboard.feed import Sender
from regenerator.dashboard.feed import State as Fed
from regenerator.dashboard.history.history import History
from regenerator.dashboard.reasons.asking import Asking, Verdict
from regenerator.dashboard.reasons.explaining import FRESH_S, STALE_WAIT_S
from regenerator.dashboard.reasons.reasons import Answer, Reasons
from regenerator.dashboard.reasons.sentences import Word
from regenerator.policy import content_security_policy
from regenerator.render import readable
from registry.keys import ClaimKey, Keyspace, RouteKey
from registry.records import Address, ClaimRecord, InstanceRecord, State
from registry.snapshot import Entry, Snapshot
from tests.unit.test_regenerator_settings import read

KEYS = Keyspace()
FOLDER = Path(__file__).parents[2] / "nginx"
SOURCES = templates.read_sources(FOLDER)

NOON = 1_795_262_400.0
"""2026-11-21T12:00:00Z."""

LEASE = 77
REQUEST = "f00dfeedf00dfeedf00dfeedf00dfeed"


def instance(
    branch: str,
    service: str = "web",
    *,
    ip: str = "10.0.0.1",
    state: State = State.READY,
    health: str = "",
    name: str = "c-1",
    lease: int = LEASE,
    at: int = 5,
) -> Entry:
    """A registration of a registrar's."""
    record = InstanceRecord(Address(ip, 8000), state, "2026-11-21T11:59:00Z", 15, health)
    return Entry(KEYS.raw(RouteKey(branch, service, name)), record.dump(), at, at, lease)


def claim(branch: str, service: str, *labels: str, at: int = 1) -> Entry:
    key = KEYS.raw(ClaimKey(branch, service))
    return Entry(key, ClaimRecord(labels, "2026-11-21T09:00:00Z").dump(), at, at, 0)


LOGIN = claim("feature/login", "web", "feature-login-web", "feature-login")


@dataclass
class Scene:
    """A desk, what it is told, and the pages that come of it."""

    desk: Desk
    clock: list[float]
    verdict: Verdict = Verdict.REFUSES
    asked: list[str] = field(default_factory=list)
    revision: int = 9
    _sender: Sender = field(default_factory=Sender)

    def __post_init__(self) -> None:
        async def connect(address: Address) -> Verdict:
            self.asked.append(str(address))
            return self.verdict

        self.reasons = Reasons(self.desk, asking=Asking(connect), now=lambda: self.clock[0])

    def serve(
        self,
        *entries: Entry,
        ended: tuple[Entry, ...] = (),
        held: frozenset[bytes] = frozenset(),
        spared: frozenset[bytes] = frozenset(),
    ) -> None:
        """Tell that so much is served since now."""
        self.revision += 1
        snapshot = Snapshot("c1", self.revision, {one.key: one for one in entries}, ended)
        generation = f"{self.revision:012x}"
        fed = Fed(snapshot, generation, self.clock[0], held, spared)
        self.desk.take(self._sender.served(fed, ended=ended))

    def answer(self, status: int, host: str, *, is_json: bool = True, **about: Any) -> Answer:
        """What is answered to a request for a host."""
        given = {"branch": "", "service": "", "address": "", "method": "GET", **about}
        return asyncio.run(
            self.reasons.answer(status, is_json=is_json, host=host, request_id=REQUEST, **given)
        )

    def problem(self, status: int, host: str, **about: Any) -> Any:
        """The problem document, which has to say the same as the header."""
        found = self.answer(status, host, **about)
        document = json.loads(found.body)
        assert found.content_type == "application/problem+json"
        assert document["reason"] == found.headers["X-Reason"]
        assert document["status"] == status
        assert document["host"] == host
        assert document["request_id"] == REQUEST
        assert document["title"]
        assert document["detail"].endswith(".")
        return document

    def page(self, status: int, host: str, **about: Any) -> str:
        found = self.answer(status, host, is_json=False, **about)
        assert found.content_type == "text/html; charset=utf-8"
        text = found.body.decode()
        assert f'<p class="status">{status}</p>' in text
        assert REQUEST in text
        return text


def scene_of(tmp_path: Path, **settings: Any) -> Iterator[Scene]:
    found = read(domain="dev.test", public_url="http://dev.test:8080")
    found = replace(found, text=replace(found.text, **settings))
    clock = [NOON]
    history = History(
        tmp_path / "history.db",
        rules=found.rules,
        domain=found.text.domain,
        clock=lambda: clock[0],
    )
    desk = Desk(found, frontend="f1", templates=SOURCES, history=history, now=lambda: clock[0])
    yield Scene(desk, clock)
    history.close()


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Iterator[Scene]:
    yield from scene_of(tmp_path)


@pytest.fixture(name="closed")
def _closed(tmp_path: Path) -> Iterator[Scene]:
    """The list of branches is for some alone, the branches are for everybody."""
    yield from scene_of(tmp_path, allow_clients=("10.9.0.0/16",))


@pytest.fixture(name="all_closed")
def _all_closed(tmp_path: Path) -> Iterator[Scene]:
    yield from scene_of(tmp_path, allow_clients=("10.9.0.0/16",), protect="all")


FEATURE: dict[str, Any] = {"branch": "feature/login", "service": "web"}


def test_who_was_never_registered_is_told_so_with_names_like_it(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login"), claim("main", "api", "main-api"))

    problem = scene.problem(404, "fetaure-login.dev.test")

    assert problem["reason"] == "never-registered"
    assert problem["since"] is None
    assert problem["did_you_mean"] == [
        {"host": "feature-login.dev.test", "url": "http://feature-login.dev.test:8080"}
    ]
    assert "Retry-After" not in scene.answer(404, "fetaure-login.dev.test").headers
    page = scene.page(404, "fetaure-login.dev.test")
    assert 'href="http://feature-login.dev.test:8080/"' in page
    assert "script" not in page


def test_at_most_three_services_are_offered_and_each_once(scene: Scene) -> None:
    scene.serve(
        *(
            claim(f"login-{letter}", "web", f"login-{letter}-web", f"login-{letter}")
            for letter in "abcdef"
        )
    )

    offered = scene.problem(404, "login-x.dev.test")["did_you_mean"]

    assert [one["host"] for one in offered] == [
        "login-a.dev.test",
        "login-b.dev.test",
        "login-c.dev.test",
    ]


@pytest.mark.parametrize(
    ("host", "reason", "words"),
    [
        ("dev.test", "no-such-page", "nothing at this path"),
        ("www.example.org", "never-registered", "end in .dev.test"),
        ("main-web.dev.test.evil.org", "never-registered", "end in .dev.test"),
        ("xdev.test", "never-registered", "end in .dev.test"),
        ("main-we.b", "never-registered", "end in .dev.test"),
        ("", "never-registered", "No service has registered"),
    ],
)
def test_a_host_that_is_no_branchs_is_not_likened_to_any(
    scene: Scene, host: str, reason: str, words: str
) -> None:
    scene.serve(claim("main", "web", "main-web", "main"))

    problem = scene.problem(404, host)

    assert (problem["reason"], problem["did_you_mean"]) == (reason, [])
    assert words in problem["detail"]


def test_a_host_that_is_longer_than_any_is_neither_shown_nor_looked_for(scene: Scene) -> None:
    scene.serve(LOGIN)
    host = "feature-login." * 300 + "dev.test"

    found = json.loads(scene.answer(404, host).body)

    assert (found["host"], found["did_you_mean"]) == ("", [])


def test_a_branch_that_was_removed_says_when(scene: Scene) -> None:
    gone = instance("feature/login", lease=0)
    scene.serve(LOGIN, gone)
    scene.clock[0] += 60
    scene.serve(ended=(gone, LOGIN))
    scene.clock[0] += 300

    problem = scene.problem(404, "feature-login.dev.test")

    assert problem["reason"] == "removed"
    assert problem["since"] == "2026-11-21T12:01:00Z"
    assert (problem["branch"], problem["service"]) == ("feature/login", "web")
    assert problem["command"] == "regenerator history feature/login web"
    assert "Since <time" in scene.page(404, "feature-login.dev.test")
    assert ">12:01:00 UTC, 5 min ago<" in scene.page(404, "feature-login.dev.test")
    assert scene.problem(404, "feature-login-web.dev.test")["reason"] == "removed"
    for other in ("feature-login.x.dev.test", "x.feature-login.dev.test", "feature-login.test"):
        assert scene.problem(404, other)["reason"] == "never-registered"


def test_one_that_deregistered_says_when(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login"))
    leaving = instance("feature/login", state=State.DRAINING)
    scene.serve(LOGIN, leaving)
    scene.clock[0] += 1
    scene.serve(LOGIN, ended=(leaving,))

    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)

    assert problem["reason"] == "deregistered"
    assert problem["since"] == "2026-11-21T12:00:01Z"
    assert scene.answer(503, "feature-login.dev.test", **FEATURE).headers["Retry-After"] == "5"


def test_one_whose_lease_ran_out_went_without_a_word(scene: Scene) -> None:
    gone = instance("feature/login")
    scene.serve(LOGIN, gone)
    scene.serve(LOGIN, ended=(gone,))

    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)

    assert problem["reason"] == "expired"
    assert "its lease ran out" in problem["detail"]
    assert problem["command"] == "regenerator history feature/login web"


def test_of_one_that_left_while_nobody_watched_nobody_says_how(
    scene: Scene, tmp_path: Path
) -> None:
    """It may have left in good order: to be told of a crash would be misleading."""
    scene.serve(LOGIN, instance("feature/login"))
    scene.desk.history.close()
    rules = scene.desk.settings.rules
    scene.desk.history = History(tmp_path / "history.db", rules=rules, domain="dev.test")

    scene.serve(LOGIN)

    (change, *_) = scene.desk.history.changes("feature/login", limit=1)
    assert change.reason.startswith("it is gone; between ")
    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)
    assert (problem["reason"], problem["since"]) == ("not-running", None)
    (service,) = scene.desk.board.branches[0].services
    assert (service.reason, service.gone_at) == ("nothing of it runs", 0.0)
    scene.desk.history.close()


def test_one_that_a_hand_took_out_was_removed(scene: Scene) -> None:
    gone = instance("feature/login", lease=0, name="")
    scene.serve(LOGIN, gone)
    scene.serve(LOGIN, ended=(gone,))

    assert scene.problem(503, "feature-login.dev.test", **FEATURE)["reason"] == "removed"


def test_what_nobody_has_seen_running_has_no_time(scene: Scene) -> None:
    scene.serve(LOGIN)

    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)

    assert (problem["reason"], problem["since"]) == ("not-running", None)


def test_one_that_starts_is_waited_for(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login", state=State.STARTING))

    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)
    answer = scene.answer(503, "feature-login.dev.test", **FEATURE)
    page = scene.page(503, "feature-login.dev.test", **FEATURE)

    assert (problem["reason"], problem["since"]) == ("starting", "2026-11-21T11:59:00Z")
    assert problem["addresses"] == ["10.0.0.1:8000"]
    assert answer.headers["Retry-After"] == "2"
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page
    assert 'data-every="5" data-status="503" data-reason="starting"' in page


def test_one_that_fails_its_health_check_says_what_it_answered_and_since_when(
    scene: Scene,
) -> None:
    words = "GET http://10.0.0.1:8000/up answered 500"
    scene.serve(LOGIN, instance("feature/login"))
    scene.clock[0] += 30
    scene.serve(LOGIN, instance("feature/login", state=State.STARTING, health=words))

    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)

    assert problem["reason"] == "unhealthy"
    assert problem["since"] == "2026-11-21T12:00:30Z"
    assert f"It does not pass its health check: {words}." in problem["detail"]
    assert words in scene.page(503, "feature-login.dev.test", **FEATURE)


def test_since_when_it_fails_is_not_told_while_the_history_cannot_be_written(
    scene: Scene, tmp_path: Path
) -> None:
    """It was registered long before."""
    scene.serve(LOGIN, instance("feature/login"))
    with sqlite3.connect(tmp_path / "history.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        scene.serve(LOGIN, instance("feature/login", state=State.STARTING, health="no answer"))

        problem = scene.problem(503, "feature-login.dev.test", **FEATURE)
    other.close()

    assert (problem["reason"], problem["since"]) == ("unhealthy", None)


def test_one_that_leaves_says_so(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login"))
    scene.serve(LOGIN, instance("feature/login", state=State.DRAINING))

    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)

    assert (problem["reason"], problem["since"]) == ("leaving", "2026-11-21T12:00:00Z")


def test_every_instance_says_why_it_gets_nothing(scene: Scene) -> None:
    scene.serve(
        LOGIN,
        instance("feature/login", name="c-1", state=State.STARTING, health="no answer"),
        instance("feature/login", name="c-2", ip="10.0.0.2", state=State.STARTING),
        instance("feature/login", name="c-3", ip="169.254.0.1"),
    )

    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)

    assert problem["reason"] == "unhealthy"
    assert [(one["name"], one["status"]) for one in problem["instances"]] == [
        ("c-1", "unhealthy"),
        ("c-2", "starting"),
        ("c-3", "rejected"),
    ]
    assert all(one["reason"] for one in problem["instances"])


def test_an_address_that_nobody_may_have_is_told_with_its_reason(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login", ip="169.254.169.254"))

    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)
    answer = scene.answer(503, "feature-login.dev.test", **FEATURE)

    assert problem["reason"] == "rejected"
    assert "metadata service" in problem["detail"]
    assert "ALLOW_NETWORKS" in problem["detail"]
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("host", ["feature-login.dev.test", "feature-login-web.dev.test"])
def test_who_is_rejected_and_has_no_claim_is_told_by_the_host_it_would_have(
    scene: Scene, host: str
) -> None:
    scene.serve(instance("feature/login", ip="8.8.8.8"))

    problem = scene.problem(404, host)

    assert (problem["reason"], problem["branch"]) == ("rejected", "feature/login")
    assert "outside the networks of ALLOW_NETWORKS" in problem["detail"]


def test_a_record_that_cannot_be_read_is_told_by_the_host_it_would_have(scene: Scene) -> None:
    raw = KEYS.raw(RouteKey("feature/login", "api"))
    # no host can be made of the other one, and that keeps nobody from asking
    other = KEYS.raw(RouteKey("feature/login", "日本"))
    scene.serve(Entry(raw, b"10.0.0.1", 5, 5, 0), Entry(other, b"10.0.0.1:80", 6, 6, 0))

    problem = scene.problem(404, "feature-login-api.dev.test")

    assert (problem["reason"], problem["service"]) == ("rejected", "api")
    assert "is no address such as" in problem["detail"]


def test_an_evicted_instance_says_who_has_its_address(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login", at=5), instance("main", name="c-2", at=6))

    problem = scene.problem(503, "feature-login.dev.test", **FEATURE)

    assert problem["reason"] == "rejected"
    assert "registered later by branch 'main'" in problem["detail"]


def test_a_conflict_of_the_claim_is_told(scene: Scene) -> None:
    scene.serve(
        claim("fix-foo", "web", "fix-foo-web", "fix-foo", at=1),
        claim("fix/foo", "web", "fix-foo-web", "fix-foo", at=2),
    )

    problem = scene.problem(503, "fix-foo-528e1f.dev.test", branch="fix/foo", service="web")

    assert problem["reason"] == "not-running"
    assert "belongs to branch 'fix-foo'" in problem["conflicts"][0]


REFUSED: dict[str, Any] = {**FEATURE, "address": "10.0.0.1:8000"}


@pytest.mark.parametrize(
    ("status", "verdict", "reason", "words"),
    [
        (502, Verdict.REFUSES, "refused", "10.0.0.1:8000 refuses connections"),
        (502, Verdict.HANGS_UP, "refused", "10.0.0.1:8000 hangs up at once"),
        (502, Verdict.SILENT, "unreachable", "10.0.0.1:8000 does not answer"),
        (502, Verdict.ACCEPTS, "broke-off", "accepts connections now, but broke this request off"),
        (502, Verdict.UNKNOWN, "refused", "refuses connections or breaks them off"),
        (504, Verdict.ACCEPTS, "late", "10.0.0.1:8000 took the request, and had not answered"),
        (504, Verdict.UNKNOWN, "late", "after 60 s"),
        (504, Verdict.SILENT, "unreachable", "10.0.0.1:8000 does not answer"),
        (504, Verdict.REFUSES, "refused", "10.0.0.1:8000 refuses connections"),
    ],
)
def test_an_instance_that_did_not_answer_is_asked_once_more(
    scene: Scene, status: int, verdict: Verdict, reason: str, words: str
) -> None:
    scene.serve(LOGIN, instance("feature/login"))
    scene.verdict = verdict

    problem = scene.problem(status, "feature-login.dev.test", **REFUSED)

    assert problem["reason"] == reason
    assert words in problem["detail"]
    assert scene.asked == ["10.0.0.1:8000"]
    answer = scene.answer(status, "feature-login.dev.test", **REFUSED)
    assert answer.headers["Retry-After"] == "5"
    # whoever reads a page does not press a service that is stuck, or breaks
    page = scene.page(status, "feature-login.dev.test", **REFUSED)
    assert ("http-equiv" in page) == (reason in {"refused", "unreachable"})


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.2:8000",
        "10.0.0.9:8000",
        "169.254.169.254:8000",
        "8.8.8.8:53",
        "localhost:22",
        "x",
        "",
    ],
)
def test_nobody_but_the_services_own_instances_is_asked(scene: Scene, address: str) -> None:
    scene.serve(
        LOGIN,
        instance("feature/login"),
        instance("feature/login", name="c-2", ip="169.254.169.254"),
        instance("feature/login", name="c-9", ip="10.0.0.9", state=State.STARTING),
        instance("main", ip="10.0.0.2"),
    )

    scene.problem(502, "feature-login.dev.test", **{**FEATURE, "address": address})

    assert scene.asked == []


def test_an_instance_that_was_taken_out_meanwhile_says_why(scene: Scene) -> None:
    gone = instance("feature/login")
    scene.serve(LOGIN, gone)
    scene.serve(LOGIN, ended=(gone,))

    problem = scene.problem(502, "feature-login.dev.test", **REFUSED)

    assert problem["reason"] == "expired"
    assert scene.asked == []


def test_where_another_instance_serves_by_now_the_page_is_asked_for_again(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login", ip="10.0.0.7", name="c-7"))

    for status in (502, 503):
        problem = scene.problem(status, "feature-login.dev.test", **REFUSED)
        assert problem["reason"] == "ready"
    assert scene.problem(404, "feature-login.dev.test")["reason"] == "ready"
    assert "Retry-After" not in scene.answer(404, "feature-login.dev.test").headers


def test_what_was_registered_since_the_last_question_is_known(scene: Scene) -> None:
    scene.serve()
    assert scene.problem(404, "feature-login.dev.test")["reason"] == "never-registered"

    scene.serve(LOGIN)

    assert scene.problem(404, "feature-login.dev.test")["reason"] == "not-running"


def test_an_address_that_a_rule_forbids_is_not_asked_whatever_the_board_says(
    scene: Scene,
) -> None:
    scene.serve(LOGIN, instance("feature/login"))
    (branch,) = scene.desk.board.branches
    (service,) = branch.services
    (view,) = service.instances
    forbidden = replace(view, address="169.254.169.254:80")
    services = (replace(service, instances=(forbidden,)),)
    branches = (replace(branch, services=services),)
    scene.desk.board = replace(scene.desk.board, branches=branches)

    problem = scene.problem(
        502, "feature-login.dev.test", **{**FEATURE, "address": "169.254.169.254:80"}
    )

    assert (problem["reason"], scene.asked) == ("refused", [])


def test_what_the_brake_holds_and_does_not_answer_says_so(scene: Scene) -> None:
    lost = instance("feature/login")
    scene.serve(LOGIN, lost, held=frozenset({lost.key}))

    problem = scene.problem(502, "feature-login.dev.test", **REFUSED)

    assert problem["reason"] == "held"
    assert "10.0.0.1:8000 refuses connections" in problem["detail"]
    assert "The registry has lost it" in problem["detail"]
    assert "regenerator release" in problem["detail"]


def test_a_lost_lease_is_told_of_an_instance_that_does_not_answer(scene: Scene) -> None:
    lost = instance("feature/login")
    scene.serve(LOGIN, lost, spared=frozenset({lost.key}))

    problem = scene.problem(502, "feature-login.dev.test", **REFUSED)

    assert "Its lease was lost a moment ago" in problem["detail"]


def test_a_method_that_the_list_does_not_take_says_nothing_of_branches(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login"))

    problem = scene.problem(405, "dev.test", method="POST")

    assert problem["reason"] == "read-only"
    assert "GET and HEAD" in problem["detail"]


def test_a_loop_names_the_instances(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login"))

    problem = scene.problem(508, "feature-login.dev.test", **FEATURE)

    assert (problem["reason"], problem["addresses"]) == ("loop", ["10.0.0.1:8000"])
    assert "http-equiv" not in scene.page(508, "feature-login.dev.test", **FEATURE)


def all_troubles(scene: Scene) -> list[tuple[int, str, dict[str, Any]]]:
    """One of each, in a registry where others have all kinds of names."""
    words = "GET http://10.0.0.3:8000/up answered 500"
    scene.serve(
        claim("secret", "web", "secret-web", "secret", at=1),
        instance("secret", ip="10.0.0.66", name="s-1", at=9),
        claim("evicted", "web", "evicted-web", "evicted", at=2),
        instance("evicted", ip="10.0.0.66", name="c-1", at=3),
        claim("sick", "web", "sick-web", "sick", at=2),
        instance("sick", ip="10.0.0.3", name="c-1", state=State.STARTING, health=words),
        claim("rejected", "web", "rejected-web", "rejected", at=2),
        instance("rejected", ip="8.8.8.8", name="c-1"),
        claim("broken", "web", "broken-web", "broken", at=2),
        instance("broken", ip="10.0.0.4", name="c-1"),
        claim("Secret", "web", "secret-web", "secret", at=4),
    )
    return [
        (404, "secre.dev.test", {}),
        (503, "evicted.dev.test", {"branch": "evicted", "service": "web"}),
        (503, "sick.dev.test", {"branch": "sick", "service": "web"}),
        (503, "rejected.dev.test", {"branch": "rejected", "service": "web"}),
        (502, "b.dev.test", {"branch": "broken", "service": "web", "address": "10.0.0.4:8000"}),
        (504, "b.dev.test", {"branch": "broken", "service": "web", "address": "10.0.0.4:8000"}),
        (508, "b.dev.test", {"branch": "broken", "service": "web"}),
        (503, "s.dev.test", {"branch": "Secret", "service": "web"}),
    ]


def test_where_the_list_is_closed_nobody_else_is_named_and_no_address(closed: Scene) -> None:
    for status, host, about in all_troubles(closed):
        for answer in (
            closed.answer(status, host, **about),
            closed.answer(status, host, is_json=False, **about),
        ):
            own = about.get("branch", "")
            text = answer.body.decode().replace(f"{own} web", "").replace(host, "")
            assert "secret" not in text.replace(own, ""), (status, host)
            assert "10.0.0." not in text
            assert "8.8.8.8" not in text


def test_where_all_is_closed_or_all_is_open_they_are_named(scene: Scene, all_closed: Scene) -> None:
    for one in (scene, all_closed):
        told = [
            one.answer(status, host, **about).body.decode()
            for status, host, about in all_troubles(one)
        ]
        for text, named in zip(
            told,
            ["secret", "'secret'", "10.0.0.3:8000", "8.8.8.8", *["10.0.0.4:8000"] * 3, "'secret'"],
            strict=True,
        ):
            assert named in text


def test_the_words_of_a_closed_page_still_help(closed: Scene) -> None:
    told = {
        host: closed.problem(status, host, **about)["detail"]
        for status, host, about in all_troubles(closed)
    }

    assert "registered later by somebody else" in told["evicted.dev.test"]
    assert "GET http://its address/up answered 500" in told["sick.dev.test"]
    assert "its address may not be used here" in told["rejected.dev.test"].lower()


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in {"style", "script"} and data.strip():
            kinds = {"style": self.styles, "script": self.scripts}
            kinds[self.tags[-1]].append(data)


HOSTILE = "fix/<script>alert(1)</script>\"'&{{7*7}}" + "x" * 400


def test_a_hostile_name_is_text_in_a_page_and_in_json(scene: Scene) -> None:
    words = "<img src=x onerror=alert(1)>\"'"
    scene.serve(instance(HOSTILE, state=State.STARTING, health=words, name="<b>'\"-1"))
    about = {"branch": readable(HOSTILE), "service": "web"}

    problem = scene.problem(503, "x.dev.test", **about)
    page = scene.page(503, "x.dev.test", **about)

    assert problem["branch"] == HOSTILE
    assert words in problem["detail"]
    scene.serve(instance("main", state=State.STARTING, health="no answer"))
    harmless = scene.page(503, "x.dev.test", branch="main", service="web")
    assert Elements(page).tags == Elements(harmless).tags
    assert len(Elements(page).scripts) == 1
    assert "&lt;script&gt;" in page
    assert "{{7*7}}" in page


def test_a_command_takes_a_name_as_a_shell_does(scene: Scene) -> None:
    for branch, command in (
        ("a b;rm -rf $HOME", "registrar list 'a b;rm -rf $HOME'"),
        ("--help", "registrar list -- --help"),
    ):
        scene.serve(instance(branch, state=State.STARTING))
        about = {"branch": readable(branch), "service": "web"}
        assert scene.problem(503, "x.dev.test", **about)["command"] == command


def test_the_policy_lets_in_just_what_is_in_the_page(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login", state=State.STARTING))

    answer = scene.answer(503, "feature-login.dev.test", is_json=False, **FEATURE)

    found = Elements(answer.body.decode())
    policy = content_security_policy(styles=found.styles, scripts=found.scripts)
    assert answer.headers["Content-Security-Policy"] == policy


def test_a_page_that_somebody_posted_to_does_not_load_itself(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login", state=State.STARTING))

    page = scene.page(503, "feature-login.dev.test", method="POST", **FEATURE)

    assert "http-equiv" not in page
    assert "<script" not in page


def test_a_page_that_is_left_open_looks_less_often_in_the_end(scene: Scene) -> None:
    scene.serve(LOGIN, instance("feature/login"))
    scene.serve(LOGIN, instance("feature/login", state=State.STARTING, health="no"))

    for passed, every in ((FRESH_S - 1, 5), (1, STALE_WAIT_S)):
        scene.clock[0] += passed
        page = scene.page(503, "feature-login.dev.test", **FEATURE)
        assert f'data-every="{every}"' in page


def test_a_time_of_another_day_has_its_date(scene: Scene) -> None:
    gone = instance("feature/login")
    scene.serve(LOGIN, gone)
    scene.serve(LOGIN, ended=(gone,))
    scene.clock[0] += 3 * 86400

    page = scene.page(503, "feature-login.dev.test", **FEATURE)

    assert "2026-11-21 12:00:00 UTC, 3 days ago" in page


@pytest.mark.parametrize("name", ["pages/reason.html.j2", "pages/reason.js", "pages/page.css"])
def test_a_template_that_is_not_there_is_an_error_and_no_empty_page(
    scene: Scene, name: str
) -> None:
    """Such as in a folder of templates that somebody made before there was such a file."""
    scene.serve(LOGIN)
    scene.desk.templates = {one: text for one, text in SOURCES.items() if one != name}
    scene.__post_init__()

    with pytest.raises(LookupError):
        scene.page(503, "feature-login.dev.test", **FEATURE)
    assert scene.problem(503, "feature-login.dev.test", **FEATURE)["reason"] == "not-running"


def test_every_word_stands_in_the_docs_and_no_other() -> None:
    text = (FOLDER.parent / "docs" / "reasons.md").read_text()

    found = re.findall(r"^\| [0-9, ]+ \| `([a-z-]+)` \|", text, re.MULTILINE)

    assert sorted(found) == sorted(Word)
