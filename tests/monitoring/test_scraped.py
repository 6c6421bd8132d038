"""A real Prometheus scrapes a real frontend by the files of docs/monitoring."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.system.frontend import Frontend
from tests.system.origin import Origin, refusing

pytestmark = pytest.mark.system

DOCS = Path(__file__).parents[2] / "docs" / "monitoring"

SCRAPE_S = 1
"""In place of 15 s: a rate needs two of them."""

SEEN_S = 60.0
"""For three scrapes of a frontend on a busy machine, and a Prometheus that starts."""


class Prometheus:
    """One Prometheus on loopback.

    Attributes:
        url: Where it is asked.
    """

    def __init__(self, binary: str, folder: Path, *, target: str) -> None:
        settings = yaml.safe_load((DOCS / "prometheus.yml").read_text())
        settings["global"] = dict.fromkeys(settings["global"], f"{SCRAPE_S}s")
        settings["rule_files"] = [str(DOCS / one) for one in settings["rule_files"]]
        settings["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        self.url = f"http://127.0.0.1:{free_ports(1)[0]}"
        self._log = folder / "prometheus.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    binary,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                    "--log.level=warn",
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
            )

    def ask(self, path: str, **parameters: str) -> Any:
        """What one of its paths answers."""
        asked = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(asked) as response:  # noqa: S310 - our own Prometheus
            return json.load(response)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """Wait until an expression gives anything."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            try:
                found[:] = self.query(expression)
            except OSError:
                assert self.process.poll() is None, self._log.read_text()
            return bool(found)

        try:
            wait_until(is_there, within_s=SEEN_S)
        except TimeoutError as exc:
            raise AssertionError(f"no series: {expression}\n{self._log.read_text()}") from exc
        return found

    def end(self) -> None:
        """SIGTERM, and wait."""
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(name="metrics", scope="module")
def _metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a frontend gives its numbers, with branches that are asked."""
    folder = tmp_path_factory.mktemp("scraped")
    metrics = f"127.0.0.1:{free_ports(1)[0]}"
    with (
        EtcdServer(folder / "etcd") as etcd,
        Frontend(folder, etcd=etcd, METRICS=metrics) as frontend,
        Origin("main") as origin,
        refusing() as nobody,
    ):
        frontend.put("main", "web", origin.address)
        frontend.put("feature/login", "web", nobody)
        frontend.write("routes/wrong/web", "8.8.8.8:80")
        for host in ("main", "feature-login", "nobody"):
            frontend.ask(f"{host}.localhost")
        yield metrics


@pytest.fixture(name="prometheus", scope="module")
def _prometheus(
    prometheus_binary: str, metrics: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    prometheus = Prometheus(
        prometheus_binary, tmp_path_factory.mktemp("prometheus"), target=metrics
    )
    try:
        prometheus.wait_for('count_over_time(up{job="branchfront"}[1m]) >= 3')
        yield prometheus
    finally:
        prometheus.end()


def test_promtool_has_nothing_against_the_numbers(promtool: str, metrics: str) -> None:
    """Names, types, help, and what its linter knows of good names."""
    with urllib.request.urlopen(f"http://{metrics}/metrics") as response:
        text = response.read()
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_target_is_up(prometheus: Prometheus) -> None:
    [target] = prometheus.ask("targets")["activeTargets"]

    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["labels"]["job"] == "branchfront"


def test_the_rules_are_loaded_and_looked_at(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), within_s=SEEN_S)

    assert {rule["health"] for rule in rules()} == {"ok"}
    # what is left out is the only thing that is wrong here, and it takes some minutes to ring
    assert {rule["name"] for rule in rules() if rule["state"] != "inactive"} <= {
        "BranchfrontRejectedRecords"
    }


def selectors() -> list[str]:
    """Every series that an alert looks at, without what of it is wrong."""
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]
    found = {
        selector
        for rule in rules
        for selector in re.findall(r"(?:branchfront_\w+|up)(?:\{[^}]*\})?", rule["expr"])
    }
    # there is no certificate without TLS
    return sorted(one for one in found if "certificate" not in one)


@pytest.mark.parametrize("selector", selectors())
def test_what_an_alert_looks_at_is_there(prometheus: Prometheus, selector: str) -> None:
    """An alert on a series that never comes would never ring."""
    prometheus.wait_for(selector)


def panels() -> list[tuple[str, str]]:
    found = []
    for panel in json.loads((DOCS / "grafana.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", f"{10 * SCRAPE_S}s")
            query = query.replace("$job", "branchfront")
            query = query.replace("$instance", ".*").replace("$branch", ".*")
            if "certificate" not in query:
                found.append((panel["title"], query))
    return found


@pytest.mark.parametrize(("title", "query"), panels())
def test_a_panel_of_grafana_has_something_to_show(
    prometheus: Prometheus, title: str, query: str
) -> None:
    assert prometheus.wait_for(query), title


def test_grafanas_variables_have_values(prometheus: Prometheus) -> None:
    [job] = prometheus.ask("label/job/values", **{"match[]": "branchfront_build_info"})
    branches = prometheus.ask("label/branch/values", **{"match[]": "branchfront_requests_total"})

    assert job == "branchfront"
    assert {"main", "feature/login", "other"} <= set(branches)
