"""What docs/monitoring offers is what Prometheus takes, by its own tool."""

import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

DOCS = Path(__file__).parents[2] / "docs" / "monitoring"


def check(promtool: str, *arguments: str, content: str = "") -> str:
    """Run promtool; gives all that it said if it is content."""
    done = subprocess.run(
        [promtool, *arguments],
        cwd=DOCS,
        input=content,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_the_rules_are_right(promtool: str) -> None:
    assert "SUCCESS" in check(promtool, "check", "rules", "alerts.yml")


def test_the_configuration_is_right(promtool: str) -> None:
    assert "SUCCESS" in check(promtool, "check", "config", "prometheus.yml")


def test_each_alert_rings_when_it_should_and_not_before(promtool: str) -> None:
    assert "SUCCESS" in check(promtool, "test", "rules", "alerts_test.yml")


def test_no_alert_is_without_a_test() -> None:
    tests = (DOCS / "alerts_test.yml").read_text()
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]

    assert [rule["alert"] for rule in rules if f'"{rule["alert"]}"' not in tests] == []


def test_a_rule_that_is_wrong_is_refused(promtool: str, tmp_path: Path) -> None:
    """The tool does look."""
    broken = tmp_path / "alerts.yml"
    broken.write_text((DOCS / "alerts.yml").read_text().replace("== 0", "=== 0", 1))

    with pytest.raises(AssertionError, match="could not parse expression"):
        check(promtool, "check", "rules", str(broken))
