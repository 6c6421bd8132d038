"""docs/metrics.md says what is counted, and what may be asked for is counted: both ways."""

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import Metric

from regenerator.dashboard.desk import Desk
from regenerator.dashboard.history.history import History
from regenerator.dashboard.numbers.numbers import Numbers
from regenerator.metrics import Metrics
from tests.unit.test_regenerator_settings import read

DOCS = Path(__file__).parents[2] / "docs"

PAGE = (DOCS / "metrics.md").read_text()

HEAD = "| metric | type | labels | is | of |"

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def families(tmp_path: Path) -> tuple[list[Metric], list[Metric]]:
    """All that a regenerator and a dashboard ever give out."""
    metrics = Metrics()
    metrics.certificate(0.0)
    settings = read()
    history = History(tmp_path / "history.db", rules=settings.rules, domain=settings.text.domain)
    desk = Desk(settings, frontend="f1", templates={}, history=history)
    numbers = Numbers(desk, viewers=lambda: 0)
    numbers.count({b" 404": 1})
    own = list(numbers.collect())
    history.close()
    return list(metrics.collect()), own


def rows() -> list[list[str]]:
    found = []
    for table in PAGE.split(HEAD)[1:]:
        lines = table.strip().split("\n\n")[0].splitlines()[1:]
        found += [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return found


def labels_of(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels} - {"le"}


def shown_as(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def series(tmp_path: Path) -> dict[str, set[str]]:
    """Every name that may be asked for, with its labels."""
    return {
        family.name + suffix: labels_of(family) | ({"le"} if suffix == "_bucket" else set())
        for family in chain(*families(tmp_path))
        for suffix in SUFFIXES[family.type]
    }


def test_every_metric_is_on_the_page_and_the_reverse(tmp_path: Path) -> None:
    """With its type, its labels, and the process that it is of."""
    regenerator, dashboard = families(tmp_path)
    counted = {
        (shown_as(family), family.type, tuple(sorted(labels_of(family))), process)
        for found, process in ((regenerator, "regenerator"), (dashboard, "dashboard"))
        for family in found
    }
    told = {
        (name.strip("`"), kind, tuple(sorted(re.findall(r"`(\w+)`", labels))), of)
        for name, kind, labels, _, of in rows()
    }

    assert counted == told


def test_every_name_begins_with_ours_and_none_comes_twice(tmp_path: Path) -> None:
    names = [family.name for family in chain(*families(tmp_path))]

    assert len(names) == len(set(names))
    assert all(name.startswith("branchfront_") for name in names)


def test_every_word_of_a_label_is_on_the_page(tmp_path: Path) -> None:
    """But for those that history has in its own table."""
    cells = {name.strip("`").removesuffix("_total"): text for name, _, _, text, _ in rows()}
    for family in chain(*families(tmp_path)):
        for label in labels_of(family) & {"status", "by", "kind", "result"}:
            values = {sample.labels[label] for sample in family.samples}
            if family.name in {
                "branchfront_requests",
                "branchfront_pages",
                "branchfront_changes",
                "branchfront_instances",
            }:
                continue
            assert values <= set(re.findall(r"`(\w+)`", cells[family.name])), family.name


GRAFANA: dict[str, Any] = json.loads((DOCS / "monitoring" / "grafana.json").read_text())


def panels() -> list[dict[str, Any]]:
    return [*GRAFANA["panels"]]


def queries() -> list[tuple[str, str]]:
    """What Grafana and Prometheus ask, with where that stands."""
    found = [
        (f"panel {panel['title']}", target["expr"])
        for panel in panels()
        for target in panel.get("targets", [])
    ]
    found += [
        (f"variable {one['name']}", one["query"]["query"])
        for one in GRAFANA["templating"]["list"]
        if one["type"] == "query"
    ]
    rules = yaml.safe_load((DOCS / "monitoring" / "alerts.yml").read_text())
    found += [
        (f"alert {rule['alert']}", rule["expr"])
        for group in rules["groups"]
        for rule in group["rules"]
    ]
    return found


@pytest.mark.parametrize(("where", "query"), queries())
def test_a_query_asks_for_what_there_is(where: str, query: str, tmp_path: Path) -> None:
    known = series(tmp_path)
    asked = set(re.findall(r"\bbranchfront_\w+", query))

    assert asked <= known.keys(), where
    assert asked or "up{" in query, where
    outside = {"job", "instance", *(label for name in asked for label in known[name])}
    selected = re.findall(r"\{([^}]*)\}", query)
    labels = {
        label for part in selected for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", part)
    }
    grouped = re.findall(r"\b(?:by|on|ignoring|group_left|without)\s*\(([^)]*)\)", query)
    labels |= {label.strip() for part in grouped for label in part.split(",") if label.strip()}
    assert labels <= outside, where


def test_every_metric_but_a_few_is_in_grafana_or_in_an_alert(tmp_path: Path) -> None:
    """A number that nobody looks at need not be counted."""
    asked = {name for _, query in queries() for name in re.findall(r"\bbranchfront_\w+", query)}
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    counted = {shown_as(family) for family in chain(*families(tmp_path))}

    assert counted - stems == set()


def test_grafana_can_import_it() -> None:
    assert GRAFANA["schemaVersion"] >= 36
    assert GRAFANA["title"]
    assert GRAFANA["uid"]
    # an id of its own would replace somebody else's dashboard
    assert GRAFANA["id"] is None
    assert GRAFANA["__inputs"] == []
    [source, *_] = GRAFANA["templating"]["list"]
    assert (source["type"], source["query"], source["name"]) == (
        "datasource",
        "prometheus",
        "datasource",
    )
    for panel in panels():
        if panel["type"] == "row":
            continue
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [target["refId"] for target in panel["targets"]] == list(
            "ABCDEFGH"[: len(panel["targets"])]
        )
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_grafanas_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))

    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not mine & taken, panel["title"]
        taken |= mine
    # no holes: Grafana would move panels up when the dashboard is saved
    assert taken == {(x, y) for x in range(24) for y in range(max(y for _, y in taken) + 1)}


def test_grafanas_variables_are_used_and_known() -> None:
    names = {one["name"] for one in GRAFANA["templating"]["list"]}
    asked = set(re.findall(r"\$\{?(\w+)", json.dumps(GRAFANA["panels"])))

    assert asked - {"__rate_interval", "__range"} == names


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    rules = yaml.safe_load((DOCS / "monitoring" / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["runbook"].endswith(".")
            assert rule["alert"].startswith("Branchfront")
