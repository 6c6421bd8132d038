"""Included: instances that EC2 wants back, from the notice to the end. Real etcd and nginx.

No client here asks twice: what fails, fails. The metadata is a stand-in; machines are addresses of
loopback, whose names the services answer.
"""

import math
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, pairwise

import pytest

from registrar.keep import Keep, Retirement, Timing
from registry.etcd import Etcd
from registry.keys import Keyspace, RouteKey
from registry.records import Address, InstanceRecord, State
from registry.registrations import Registrations
from registry.store import Store
from tests.ecs_agent import play_instance, registrar_environ
from tests.etcd_server import EtcdServer, wait_until
from tests.fakes.metadata import Asked, MetadataServer
from tests.registrar_process import Place, Registrar, run_once
from tests.system.asking import Asking
from tests.system.frontend import Frontend
from tests.system.origin import Origin
from tests.system.service_process import Branch

pytestmark = pytest.mark.system

SPOT_PATHS = ("instance-life-cycle", "spot/", "events/")
"""What only somebody asks for who wants to hear of notices."""

NUMBERS = count()

ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance of EC2 with one task on it: a service that answers its name, and its sidecar."""

    aws: MetadataServer
    registrar: Registrar
    key: bytes
    place: Place

    def state(self) -> State | None:
        """As it is registered; None for not at all."""
        entry = self.place.etcd.read(self.key)
        return InstanceRecord.parse(entry.value).state if entry else None

    def wait_state(self, state: State) -> None:
        """Wait until it is registered so."""
        wait_until(lambda: self.state() is state)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A branch, and the machines that serve it."""

    branch: Branch
    running: ExitStack

    def start(
        self,
        says: str,
        ip: str = ONE,
        *,
        prepare: Callable[[MetadataServer], object] = lambda _: None,
        **environ: str,
    ) -> Machine:
        """Start a machine on which the registrar heeds notices.

        Args:
            prepare: What EC2 says of it from the first moment on.
        """
        aws = self.running.enter_context(MetadataServer())
        origin = self.running.enter_context(Origin(says, ip=ip))
        task_id = play_instance(aws, ip=ip, host_port=origin.port)
        prepare(aws)
        place, name = self.branch.place, self.branch.name
        wanted = {"NAME": name, "SPOT_NOTICE": "on", **environ}
        given = registrar_environ(place, aws, **wanted)
        registrar = self.running.enter_context(Registrar(["sidecar"], given))
        key = place.keys.raw(RouteKey(name, "web", f"{task_id}-registrar"))
        return Machine(aws, registrar, key, place)

    def revision(self) -> int:
        """The newest of the registry."""
        return self.branch.place.etcd.list(self._below).revision

    def history(self, since: int) -> list[dict[bytes, State]]:
        """All that was registered at each revision."""
        etcd, found = self.branch.place.etcd, []
        for revision in range(since, self.revision() + 1):
            entries = etcd.list(self._below, at=revision).entries
            found.append(
                {key: InstanceRecord.parse(one.value).state for key, one in entries.items()}
            )
        return found

    @property
    def _below(self) -> bytes:
        return self.branch.place.keys.within(self.branch.name)[0]


@pytest.fixture
def fleet(frontend: Frontend, etcd: EtcdServer) -> Iterator[Fleet]:
    branch = Branch(frontend, etcd, f"spot-{next(NUMBERS)}")
    with ExitStack() as running:
        running.callback(branch.place.etcd.close)
        yield Fleet(branch, running)


def about_notices(asked: list[Asked]) -> list[str]:
    """What was asked for that has to do with notices."""
    paths = [one.path.removeprefix("/latest/meta-data/") for one in asked]
    return [path for path in paths if path.startswith(SPOT_PATHS)]


def in_two_minutes(aws: MetadataServer) -> None:
    aws.announce_spot(at=datetime.fromtimestamp(time.time() + 120, UTC))


def test_nobody_asks_for_notices_unless_told_to(fleet: Fleet) -> None:
    """Where the agent drains its instance, SIGTERM says it all."""
    one = fleet.start("one", prepare=in_two_minutes, SPOT_NOTICE="")
    one.wait_state(State.READY)
    fleet.branch.wait_served("one")

    assert about_notices(one.aws.requests) == []
    assert one.registrar.stop()[0] == 0


@pytest.mark.parametrize("kind", ["on-demand", "scheduled"])
def test_an_instance_that_nobody_takes_back_is_asked_once(fleet: Fleet, kind: str) -> None:
    def prepare(aws: MetadataServer) -> None:
        aws.leaves["instance-life-cycle"] = kind
        in_two_minutes(aws)

    one = fleet.start("one", prepare=prepare)
    one.registrar.wait_said(f"SPOT_NOTICE: this instance is {kind}, so no notice will come")
    one.wait_state(State.READY)

    assert about_notices(one.aws.requests) == ["instance-life-cycle"]


def test_on_a_notice_another_instance_takes_over_and_nobody_fails(
    fleet: Fleet, frontend: Frontend
) -> None:
    """From a quiet start, with a token that has ended meanwhile, to the end of the instance."""
    one = fleet.start("one")
    fleet.branch.wait_served("one")
    one.aws.wait_for(lambda asked: "spot/instance-action" in about_notices(asked))
    with Asking(frontend, fleet.branch.host) as asking:
        one.aws.expire_tokens()
        in_two_minutes(one.aws)
        one.registrar.wait_said("EC2 is going to terminate this Spot instance at 20")
        [left_s] = re.findall(r"until another instance serves, (\d+) s at most", one.registrar.log)
        # of 120 s, without those of leaving and those until it was heard
        assert 90 <= int(left_s) <= 105
        assert one.state() is State.READY

        two = fleet.start("two", TWO)
        one.wait_state(State.DRAINING)
        draining = one.place.etcd.read(one.key)
        fleet.branch.wait_served("two")
        # said once: each change is a reload for every frontend
        assert one.place.etcd.read(one.key) == draining
        assert one.registrar.is_running()
        code, _ = one.registrar.stop()
        fleet.branch.wait_served("two")

    assert asking.failures == [], frontend.story()
    assert set(asking.answers) == {"one", "two"}
    assert code == 0
    assert "another instance serves; out of rotation" in one.registrar.log
    assert (one.state(), two.state()) == (None, State.READY)
    # politely: once in five seconds, and never again after the notice
    looks = [ask for ask in one.aws.imds_requests if ask.path.endswith("spot/instance-action")]
    *quiet, refused, heard = [ask.status for ask in looks]
    assert (set(quiet), refused, heard) == ({404}, 401, 200)
    assert all(later.at - sooner.at >= 4.4 for sooner, later in pairwise(looks[:-1]))


def test_where_nobody_comes_it_leaves_while_there_is_time(fleet: Fleet, frontend: Frontend) -> None:
    """Leaving takes 6 s at most here, so it begins 6 s before the date. Then there is a page."""
    at = math.ceil(time.time()) + 12

    def prepare(aws: MetadataServer) -> None:
        aws.announce_spot(at=datetime.fromtimestamp(at, UTC))

    one = fleet.start("one", prepare=prepare, RELEASE_TIMEOUT="0.5", DRAIN="0.1")
    fleet.branch.wait_served("one")
    with Asking(frontend, fleet.branch.host) as asking:
        wait_until(lambda: "time is up" in one.registrar.log, within_s=30)
        left_s = at - time.time()
        wait_until(lambda: len(asking.failures) > 5)

    assert 2.5 < left_s <= 6.0
    assert {failure[:4] for failure in asking.failures} == {"503 "}, asking.failures
    assert asking.answers["one"] > 5
    assert one.registrar.is_running()


def test_of_two_machines_with_a_notice_one_stays_for_a_third(
    fleet: Fleet, frontend: Frontend
) -> None:
    since = fleet.revision()
    one = fleet.start("one", ONE, prepare=in_two_minutes)
    two = fleet.start("two", TWO, prepare=in_two_minutes)
    wait_until(lambda: frontend.ask(fleet.branch.host).status == 200)
    with Asking(frontend, fleet.branch.host) as asking:
        wait_until(lambda: State.DRAINING in {one.state(), two.state()})
        assert {one.state(), two.state()} == {State.DRAINING, State.READY}
        fleet.start("three", THREE)
        wait_until(lambda: {one.state(), two.state()} == {State.DRAINING})
        fleet.branch.wait_served("three")

    assert asking.failures == [], frontend.story()
    serving = [State.READY in states.values() for states in fleet.history(since)]
    # from the first that was ready on
    assert all(serving[serving.index(True) :])


def test_a_recommendation_counts_as_long_as_another_machine_serves(
    fleet: Fleet, frontend: Frontend
) -> None:
    """It sets no date; somebody on the same machine would end with it."""
    since = fleet.revision()
    neighbour = fleet.start("neighbour", SPOT_NOTICE="off")
    fleet.branch.wait_served("neighbour")
    one = fleet.start("one", prepare=MetadataServer.recommend_rebalance, TTL="3")
    one.registrar.wait_said(
        "EC2 recommends to leave this Spot instance; staying in rotation until another instance"
        " serves\n"
    )
    fleet.branch.wait_served("one", "neighbour")
    with Asking(frontend, fleet.branch.host) as asking:
        other = fleet.start("other", TWO, SPOT_NOTICE="off")
        one.wait_state(State.DRAINING)
        fleet.branch.wait_served("neighbour", "other")

        # its lease is lost: what is registered anew is out of rotation as well
        entry = one.place.etcd.read(one.key)
        assert entry is not None
        one.place.etcd.revoke(entry.lease)
        one.wait_state(State.DRAINING)
        again = one.place.etcd.read(one.key)
        assert again is not None
        assert again.lease != entry.lease
        fleet.branch.wait_served("neighbour", "other")
        history = fleet.history(since)

        # the other one goes, and this one may have days left
        other.registrar.stop()
        one.wait_state(State.READY)
        fleet.branch.wait_served("one", "neighbour")
        code, _ = one.registrar.stop()

    assert asking.failures == [], frontend.story()
    assert code == 0
    left_at = next(
        number for number, states in enumerate(history) if states.get(one.key) is State.DRAINING
    )
    assert history[left_at][other.key] is State.READY
    assert neighbour.state() is State.READY
    assert State.READY not in [states.get(one.key) for states in history[left_at:]]


UNREADABLE = "a Spot notice cannot be read, and is heeded all the same"


@pytest.mark.parametrize(
    ("notice", "said"),
    [
        ("", UNREADABLE),
        ("not JSON", UNREADABLE),
        ('{"action":"terminate"}', UNREADABLE),
        (
            '{"action":["explode"],"time":"2126-11-21T08:22:00Z"}',
            "EC2 is going to take away this Spot instance at 2126-11-21T08:22:00Z",
        ),
    ],
    ids=["empty", "no JSON", "without a time", "of another action"],
)
def test_a_notice_that_cannot_be_read_is_heeded(fleet: Fleet, notice: str, said: str) -> None:
    other = RouteKey(fleet.branch.name, "web", "other")
    place = fleet.branch.place
    record = InstanceRecord(Address(TWO, 8080))
    place.etcd.write(place.keys.raw(other), record.dump(), lease=place.etcd.grant(60).id)

    one = fleet.start(
        "one", prepare=lambda aws: aws.leaves.update({"spot/instance-action": notice})
    )

    one.registrar.wait_said(said)
    one.wait_state(State.DRAINING)


def test_metadata_that_does_not_answer_is_told_and_holds_nothing_up(fleet: Fleet) -> None:
    """The hop limit of 1: the token never comes."""
    one = fleet.start("one", prepare=lambda aws: setattr(aws, "imds_mode", "hop1"), IP=ONE)
    fleet.branch.wait_served("one")
    one.registrar.wait_said("notices of EC2 are not heard")
    one.aws.wait_for(lambda asked: len([ask for ask in asked if ask.method == "PUT"]) >= 1)

    code, took_s = one.registrar.stop()

    assert (code, one.state()) == (0, None)
    assert took_s < 8
    assert "HttpPutResponseHopLimit" in one.registrar.log


def test_under_run_the_service_goes_on_until_it_is_told_to_end(fleet: Fleet) -> None:
    """Out of rotation is not out of time: what is in flight has until SIGTERM, and DRAIN."""
    branch = fleet.branch
    with MetadataServer() as aws:
        aws.leaves["local-ipv4"] = ONE
        in_two_minutes(aws)
        registrar = fleet.running.enter_context(
            branch.start("one", IP="", SPOT_NOTICE="on", AWS_EC2_METADATA_SERVICE_ENDPOINT=aws.url)
        )
        branch.wait_served("one")
        fleet.start("two", TWO, SPOT_NOTICE="off")
        registrar.wait_said("another instance serves; out of rotation")
        branch.wait_served("two")
        assert registrar.is_running()
        assert "the command was told to end" not in registrar.log
        code, _ = registrar.stop()

    assert code == 128 + signal.SIGTERM
    branch.wait_served("two")


def test_who_is_to_heed_notices_has_to_be_able_to_ask(fleet: Fleet) -> None:
    environ = fleet.branch.place.instance_environ(
        SPOT_NOTICE="on", AWS_EC2_METADATA_DISABLED="true"
    )

    ended = run_once(["sidecar"], environ)

    assert ended.returncode == 78
    text = "SPOT_NOTICE is on, and AWS_EC2_METADATA_DISABLED is set: nobody else tells of notices"
    assert text in ended.stderr


def test_on_fargate_there_is_nobody_to_ask(fleet: Fleet) -> None:
    def be_on_fargate(aws: MetadataServer) -> None:
        aws.task_document["LaunchType"] = "FARGATE"

    machine = fleet.start("fargate", prepare=be_on_fargate)

    machine.registrar.wait_said("on Fargate SIGTERM is the notice")
    machine.wait_state(State.READY)
    assert not [one for one in machine.aws.requests if one.path.endswith(SPOT_PATHS[0])]


@pytest.mark.parametrize("wish", ["maybe", "2", "spot"])
def test_a_wish_for_notices_that_is_none_is_refused(fleet: Fleet, wish: str) -> None:
    ended = run_once(["sidecar"], fleet.branch.place.instance_environ(SPOT_NOTICE=wish))

    assert ended.returncode == 78
    assert "SPOT_NOTICE" in ended.stderr


def test_of_those_who_are_told_in_the_same_moment_one_stays(etcd: EtcdServer) -> None:
    """As near to each other as threads come, on real transactions, many times."""
    rng = random.Random(5)  # noqa: S311 - how many race
    overlaps = 0
    with ExitStack() as opened:
        stores = [opened.enter_context(closing_etcd(etcd)) for _ in range(4)]
        for number in range(25):
            keys = Keyspace(f"/race-{number}")
            keeps = [ready(store, keys, place) for place, store in enumerate(stores)]
            racing = keeps[: rng.randint(2, 4)]
            for keep in keeps[len(racing) :]:
                keep.registrations.deregister(keep.key, lease=keep.held.lease)
            store = racing[0].registrations.store
            since = store.list(keys.routes).revision
            overlaps += race(racing)
            for revision in range(since, store.list(keys.routes).revision + 1):
                assert State.READY in states_of(store, keys, at=revision), number
            # who was refused looks again, as each does every second
            for keep in racing:
                keep._turn()
            assert states_of(store, keys).count(State.READY) == 1, number
    # else nobody was ever refused, and nothing was tried
    assert overlaps > 0


@contextmanager
def closing_etcd(server: EtcdServer) -> Iterator[Etcd]:
    etcd = Etcd(server.settings)
    yield etcd
    etcd.close()


def ready(store: Etcd, keys: Keyspace, place: int) -> Keep:
    """A registration on a machine of its own that is ready."""
    registrations = Registrations(store, keys=keys)
    keep = Keep(
        registrations,
        RouteKey("main", "web", f"i{place}"),
        locate=lambda: Address(f"10.0.0.{place}", 8080),
        ttl_s=60,
        default_service="web",
        timing=Timing(lambda _: True),
    )
    keep.wish(State.READY)
    keep._turn()
    return keep


def race(keeps: list[Keep]) -> int:
    """Let all of them retire at once; how often one found itself too late."""
    refused: list[int] = []
    start = threading.Barrier(len(keeps))

    def retire(keep: Keep) -> None:
        give_way_to = keep.registrations.give_way_to

        def watched(*given: object, **more: object) -> int:
            revision = give_way_to(*given, **more)  # type: ignore[arg-type]
            refused.extend([1] * (not revision))
            return revision

        keep.registrations.give_way_to = watched  # type: ignore[method-assign]
        keep.retire(Retirement(by=None))
        start.wait(10)
        keep._turn()

    threads = [threading.Thread(target=retire, args=[keep]) for keep in keeps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(refused)


def states_of(store: Store, keys: Keyspace, *, at: int = 0) -> list[State]:
    """Of all that is registered, now or at a revision."""
    entries = store.list(keys.routes, at=at).entries.values()
    return [InstanceRecord.parse(entry.value).state for entry in entries]
