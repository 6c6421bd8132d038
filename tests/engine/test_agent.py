"""Included: ``registrar docker`` and containers that come, change and go as containers do.

Real engine, etcd and frontend. No client here asks twice where an answer has to be right.
"""

import os
import re
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest

from registrar.containers import HEALTH
from registrar.engine import SOCKET
from registry.records import State
from tests.engine import compose
from tests.engine.compose import versions
from tests.engine.containers import ROOT, RUN, Images, wait_for_answer
from tests.engine.host import PORT, Host, short_id
from tests.etcd_server import free_ports, wait_until
from tests.registrar_process import Registrar
from tests.system.asking import Asking

ONE_LINE = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d registrar: .+")

CHECK = {
    "Test": ["CMD-SHELL", "test ! -e /tmp/ill"],
    "Interval": 200_000_000,
    "Retries": 1,
    "StartPeriod": 0,
}
"""A health check of the engine's own, five times a second."""


def lines(agent: Registrar, *texts: str) -> list[str]:
    """What an agent has said about something."""
    return [line for line in agent.log.splitlines() if all(text in line for text in texts)]


def test_containers_are_served_that_ran_before_the_agent_and_that_start_after(host: Host) -> None:
    before = host.run("main", "web")
    with host.agent():
        host.wait_served("main.localhost", before)
        after = host.run("feature/login", "web")
        api = host.run("feature/login", "api")

        host.wait_served("feature-login.localhost", after)
        host.wait_served("feature-login-api.localhost", api)
        host.wait_served("main-web.localhost", before)


def test_both_containers_of_a_service_get_requests(host: Host) -> None:
    with host.agent():
        two = [host.run("main", "web"), host.run("main", "web")]
        host.wait_served("main.localhost", *two)

        answers = [host.ask("main.localhost") for _ in range(40)]

    by_instance = {served_by[:12]: text for text, served_by in answers}
    assert by_instance == {short_id(one): host.says(one) for one in two}


def test_half_the_labels_are_told_once_and_none_are_no_business_of_ours(host: Host) -> None:
    half = host.run("main")
    none = host.run(port="")
    with host.agent() as agent:
        agent.wait_said("branchfront.service is missing")
        # each makes the agent look again
        half.rename(f"{host.name}-half")
        half.pause()
        half.unpause()
        right = host.run("main", "web")
        host.wait_served("main.localhost", right)

        assert len(host.routes()) == 1
        [line] = lines(agent, "is not registered", "is missing")
        assert str(none.name) not in agent.log

        half.remove(force=True)
        mended = host.run("main", "api", options={"name": f"{host.name}-half"})
        host.wait_served("main-api.localhost", mended)
    assert "it needs branchfront.branch and branchfront.service" in line


def test_without_a_label_the_only_port_that_is_exposed_is_taken(host: Host) -> None:
    one = host.run("one", "web", port="", exposes=[PORT])
    several = host.run("several", "web", port="", exposes=[PORT, 9000])
    none = host.run("none", "web", port="")
    with host.agent() as agent:
        host.wait_served("one.localhost", one)
        agent.wait_said(f"{none.name} is not registered")
        agent.wait_said(f"{several.name} is not registered")

        assert {key.branch for key in host.routes()} == {"one"}
    assert lines(
        agent, str(several.name), "it has the ports 8000, 9000", "the label branchfront.port"
    )
    assert lines(agent, str(none.name), "it exposes no port", "the label branchfront.port")


def test_labels_of_a_stranger_hurt_nobody_else(host: Host) -> None:
    hostile = [
        host.run("new\nline", "web"),
        host.run("x" * 600, "web"),
        host.run("main", "x" * 41),
        host.run("main", "web", port="0"),
        host.run("main", "web", port="80 80"),
        host.run("main", "web", more_labels={HEALTH: "healthz"}),
        host.run("main", "web", more_labels={HEALTH: "/ HTTP/1.1\r\nX: y"}),
    ]
    odd = host.run('"; rm -rf /; "', "web")
    umlaut = host.run("feature/ü", "web")
    with host.agent() as agent:
        good = host.run("main", "web")
        host.wait_served("main.localhost", good)
        host.wait_served("feature.localhost", umlaut)
        host.wait_served("rm-rf.localhost", odd)
        for one in hostile:
            agent.wait_said(f"{one.name} is not registered")

        registered = {key.branch for key in host.routes()}
        assert registered == {"main", "feature/ü", '"; rm -rf /; "'}
        assert agent.stop()[0] == 0
    assert all(ONE_LINE.fullmatch(line) for line in agent.log.splitlines())
    # a sentence that names the container, not a page of somebody else's text
    assert max(map(len, agent.log.splitlines())) < 500


@pytest.mark.parametrize(
    ("binding", "environ"),
    [(("127.0.0.1",), {}), (None, {"IP": "127.0.0.1"}), (None, {})],
    ids=["one address", "all addresses", "all addresses, ip found out"],
)
def test_a_published_port_is_registered_where_no_network_is_named(
    host: Host, binding: tuple[str] | None, environ: dict[str, str]
) -> None:
    with host.agent(network="", **environ):
        published = host.run("main", "web", exposes=[PORT], host={"port_bindings": {PORT: binding}})
        host.wait_served("main.localhost", published)

        record = host.route(published)
        published.reload()
    [found, *_] = published.ports[f"{PORT}/tcp"] or []
    assert record is not None
    assert str(record.address) == f"127.0.0.1:{found['HostPort']}"


def test_without_network_and_published_port_it_says_what_to_do(host: Host) -> None:
    hidden = host.run("main", "web")
    with host.agent(network="") as agent:
        agent.wait_said(f"{hidden.name} is not registered")

    [line] = lines(agent, str(hidden.name))
    assert f"port {PORT} is not published (docker run -p {PORT})" in line
    assert "DOCKER_NETWORK" in line


def test_a_container_is_served_as_long_as_it_is_in_the_network(host: Host) -> None:
    wanted = host.new_network(f"{host.name}-b")
    container = host.run("main", "web")
    with host.agent(network=wanted.name) as agent:
        agent.wait_said(f"docker network connect {wanted.name} {container.name}")
        assert host.routes() == {}

        wanted.connect(container)
        host.wait_served("main.localhost", container)

        wanted.disconnect(container)
        host.wait_gone(container)
        host.wait_status("main.localhost", 503)

        wanted.connect(container)
        host.wait_served("main.localhost", container)


@pytest.mark.parametrize("linger_s", ["0", "1"], ids=["ends at once", "ends in a second"])
def test_nobody_fails_while_one_of_two_is_stopped(host: Host, linger_s: str) -> None:
    with host.agent() as agent:
        two = [host.run("main", "web", LINGER=linger_s) for _ in range(2)]
        host.wait_served("main.localhost", *two)

        with Asking(host.frontend, "main.localhost") as asking:
            two[0].stop()
            host.wait_gone(two[0])
            host.wait_served("main.localhost", two[1])

        assert asking.failures == []
        assert lines(agent, "was told to end; draining")


def test_who_is_stopped_is_draining_first(host: Host) -> None:
    with host.agent(DRAIN="1") as agent:
        container = host.run("main", "web", LINGER="2")
        host.wait_ready(container)

        container.kill("SIGTERM")

        def is_draining() -> bool:
            record = host.route(container)
            return record is not None and record.state is State.DRAINING

        wait_until(is_draining)
        # it still runs, and gets no requests any more
        host.wait_status("main.localhost", 503)
        host.wait_gone(container)
        container.reload()
        assert container.status == "running"
        agent.wait_said("deregistered")


@pytest.mark.parametrize("stop_signal", ["SIGQUIT", "QUIT", "3", "SIGRTMIN+3", "37"])
def test_an_image_may_have_a_stop_signal_of_its_own(host: Host, stop_signal: str) -> None:
    with host.agent() as agent:
        container = host.run("main", "web", options={"stop_signal": stop_signal}, LINGER="1")
        host.wait_ready(container)
        # this image takes it for something else
        container.kill("SIGHUP")

        container.stop()

        host.wait_gone(container)
    assert len(lines(agent, "was told to end; draining")) == 1


def test_what_is_gone_without_a_word_is_gone(host: Host) -> None:
    with host.agent():
        killed, ends, removed = (host.run(name, "web") for name in ("a", "b", "c"))
        host.wait_ready(killed, ends, removed)

        killed.kill()
        # its own doing: nobody has told the engine to end it
        ends.exec_run(["python3", "-c", "import os, signal; os.kill(1, signal.SIGQUIT)"])
        removed.remove(force=True)

        host.wait_gone(killed, ends)
        wait_until(lambda: host.routes() == {})
        for name in ("a", "b", "c"):
            host.wait_status(f"{name}.localhost", 503)


def test_a_container_that_is_restarted_is_another_instance(host: Host) -> None:
    with host.agent():
        container = host.run("main", "web")
        host.wait_ready(container)
        [before] = host.routes()

        container.restart()

        wait_until(lambda: [*host.routes()] not in ([before], []) and before not in host.routes())
        host.wait_served("main.localhost", container)
        [after] = host.routes()
    assert after.instance.startswith(short_id(container))
    assert after.instance != before.instance


def test_who_is_paused_gets_no_requests_until_it_goes_on(host: Host) -> None:
    with host.agent():
        container = host.run("main", "web")
        host.wait_served("main.localhost", container)

        container.pause()
        host.wait_gone(container)
        host.wait_status("main.localhost", 503)
        container.unpause()

        host.wait_served("main.localhost", container)


def test_a_new_name_changes_nothing_but_the_words(host: Host) -> None:
    with host.agent() as agent:
        container = host.run("main", "web")
        host.wait_ready(container)
        before = host.place.routes()

        container.rename(f"{host.name}-renamed")
        other = host.run("main", "api")
        host.wait_ready(other)

        assert set(before) <= set(host.place.routes())
        container.stop()
        agent.wait_said(f"{host.name}-renamed was told to end")


def test_the_engines_health_check_has_its_say(host: Host) -> None:
    with host.agent() as agent:
        container = host.create("main", "web", options={"healthcheck": CHECK})
        container.start()
        container.exec_run("touch /tmp/ill")
        wait_until(lambda: host.route(container) is not None)
        agent.wait_said("registered")

        container.exec_run("rm -f /tmp/ill")
        host.wait_served("main.localhost", container)
        container.exec_run("touch /tmp/ill")
        host.wait_status("main.localhost", 503)
        record = host.route(container)
        assert record is not None
        assert record.state is State.STARTING
        container.exec_run("rm /tmp/ill")
        host.wait_served("main.localhost", container)
    assert lines(agent, "no longer healthy: its health check says unhealthy")


def test_who_is_not_healthy_yet_gets_no_requests(host: Host) -> None:
    never = {**CHECK, "Test": ["CMD-SHELL", "test -e /tmp/well"], "StartPeriod": 60_000_000_000}
    with host.agent():
        container = host.run("main", "web", options={"healthcheck": never})
        other = host.run("other", "web")
        host.wait_served("other.localhost", other)
        wait_until(lambda: host.route(container) is not None)

        assert host.ask("main.localhost")[0] == "503"
        container.exec_run("touch /tmp/well")
        host.wait_served("main.localhost", container)


def test_a_path_of_its_own_is_asked(host: Host) -> None:
    with host.agent() as agent:
        container = host.run("main", "web", more_labels={HEALTH: "/healthz"})
        host.wait_served("main.localhost", container)

        container.exec_run("touch /tmp/ill")
        host.wait_status("main.localhost", 503)
        container.exec_run("rm /tmp/ill")
        host.wait_served("main.localhost", container)
    assert lines(agent, "no longer healthy: GET http://", "/healthz answered 503")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nobody_notices_that_the_agent_is_started_again(host: Host, number: signal.Signals) -> None:
    with ExitStack() as agents:
        first = agents.enter_context(host.agent())
        container = host.run("main", "web")
        host.wait_served("main.localhost", container)
        [before] = host.place.routes()

        with Asking(host.frontend, "main.localhost") as asking:
            first.send(number)
            code = first.wait()
            second = agents.enter_context(host.agent())
            second.wait_said("registered")
            # the second has it on a lease of its own
            wait_until(lambda: [one.lease for one in host.place.routes()] != [before.lease])
            seen = asking.answers.total()
            wait_until(lambda: asking.answers.total() > seen + 100)

        assert asking.failures == []
        assert set(asking.answers) == {host.says(container)}
        [after] = host.place.routes()
        # it was never said to be starting, and is told apart by its first registration
        assert after.value == before.value
        container.stop()
        host.wait_gone(container)
    assert code == (0 if number is signal.SIGTERM else -signal.SIGKILL)


def test_what_ended_while_no_agent_ran_is_gone_with_its_lease(host: Host) -> None:
    """Who was seen to run by another process is not known to be dead by the next one."""
    with ExitStack() as agents:
        first = agents.enter_context(host.agent(TTL="2"))
        container = host.run("main", "web")
        host.wait_ready(container)
        first.stop()
        container.remove(force=True)

        agents.enter_context(host.agent(TTL="2"))
        wait_until(lambda: host.routes() == {})
        host.wait_status("main.localhost", 503)


def test_two_agents_disturb_nobody(host: Host) -> None:
    with host.agent(TTL="2") as first, host.agent(TTL="2") as second:
        container = host.run("main", "web")
        host.wait_served("main.localhost", container)
        with Asking(host.frontend, "main.localhost") as asking:
            # both have refreshed several times, and found the other one's work
            wait_until(lambda: len(lines(first, "putting it back")) > 2)
            wait_until(lambda: len(lines(second, "putting it back")) > 2)

        assert asking.failures == []
        container.stop()
        wait_until(lambda: host.routes() == {})


def test_a_dry_run_shows_a_table_and_writes_nothing(host: Host) -> None:
    good = host.run("feature/login", "web")
    checked = host.run("main", "web", options={"healthcheck": CHECK})
    path = host.run("main", "api", more_labels={HEALTH: "/healthz"})
    bad = host.run("main")
    paused = host.run("paused", "web")
    paused.pause()

    with host.agent("--dry-run") as agent:
        assert agent.wait() == 0
        wait_until(lambda: "GETS REQUESTS" in agent.out)

    table = {line.split()[0]: line for line in agent.out.splitlines()}
    good.reload()
    ip = good.attrs["NetworkSettings"]["Networks"][host.network]["IPAddress"]
    assert re.fullmatch(
        rf"{good.name} +feature/login +web +{ip}:8000 +when its port accepts", table[str(good.name)]
    )
    assert table[str(checked.name)].endswith("when its health check passes")
    assert table[str(path.name)].endswith("when GET /healthz answers 200 to 399")
    assert "not registered: the label branchfront.service is missing" in table[str(bad.name)]
    assert table[str(paused.name)].endswith("not registered: it is paused")
    assert agent.log == ""
    keys = host.place.keys
    written = host.place.etcd.list(keys.root).entries
    assert all(key.startswith(keys.frontends) for key in written)


def test_the_agent_runs_in_its_image_without_being_root(host: Host, images: Images) -> None:
    socket = urlsplit(host.environ.get("DOCKER_HOST", "")).path or SOCKET
    if not Path(socket).exists():
        pytest.skip(f"the engine has no socket at {socket} that could be mounted")
    group = os.stat(socket).st_gid  # noqa: PTH116 - the group alone
    environ = {**host.environ, "DOCKER_HOST": f"unix://{SOCKET}"}
    environ.pop("PATH")
    agent = host.engine.containers.create(
        images.registrar,
        "docker",
        environment=environ,
        network_mode="host",
        read_only=True,
        cap_drop=["ALL"],
        group_add=[group],
        volumes={socket: {"bind": SOCKET, "mode": "ro"}},
    )
    try:
        agent.start()
        published = host.run("main", "web", exposes=[PORT], host={"port_bindings": {PORT: None}})
        host.wait_served("main.localhost", published)
        inside = agent.exec_run(["python3", "-c", "import os; print(os.geteuid())"])
        assert inside.output == b"65534\n"

        agent.stop()

        assert agent.wait()["StatusCode"] == 0
        assert b"registrations stay for" in agent.logs()
        assert host.route(published) is not None
    finally:
        agent.remove(force=True)


@pytest.mark.parametrize(
    "command",
    versions() or [pytest.param((), marks=pytest.mark.skip("there is no compose"))],
    ids=" ".join,
)
def test_the_example_is_served_as_it_is_written(
    engine: docker.DockerClient, images: Images, command: Sequence[str]
) -> None:
    """By the agent of the compose file, which may only read."""
    [port] = free_ports(1)
    socket = urlsplit(os.environ.get("DOCKER_HOST", "")).path or SOCKET
    settings = {
        **compose.environ(images, network=f"{RUN}-labelled", port=port),
        "DOCKER_SOCKET": socket,
    }
    ours = compose.Project(
        engine, images, command, options=("--profile", "agent"), environ=settings
    )
    with ours as project:
        project("up", "-d")
        file = ROOT / "docs" / "examples" / "agent" / "docker-compose.yml"
        with compose.Project(engine, images, command, file=file, environ=settings) as theirs:
            theirs("up", "-d")
            hello = wait_for_answer(port, "feature-login-hello.localhost")
            api = wait_for_answer(port, "feature-login-api.localhost")
            assert hello.text == "hello from the agent example\n"
            assert api.json() == {"from": "the agent example"}

            theirs("restart", "-t", "5", "hello")
            wait_for_answer(port, "feature-login-hello.localhost")
            project("kill", "engine", "agent")
            project("up", "-d")
            theirs("stop", "api")
            wait_for_answer(port, "feature-login-api.localhost", 503)
            assert wait_for_answer(port, "feature-login-hello.localhost").text == hello.text
            log = project("logs", "--no-color", "agent")
        # they signed off: nobody waits for a lease
        wait_for_answer(port, "feature-login-hello.localhost", 503, within_s=5.0)
    assert "Traceback" not in log
    assert f"reached at http://feature-login-hello.localhost:{port}" in log
