"""Prometheus and its promtool, from Debian's package ``prometheus``.

Neither comes with the project. Where one is missing the tests say so and are skipped, but not in
CI (``CI=true``), which installs them.
"""

import os
import shutil

import pytest


def find(program: str) -> str:
    """Where a program of Debian's package ``prometheus`` is; skips or fails if it is nowhere."""
    found = shutil.which(program)
    if found is None:
        reason = f"there is no {program}: apt-get install --no-install-recommends prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(name="promtool", scope="session")
def _promtool() -> str:
    return find("promtool")


@pytest.fixture(name="prometheus_binary", scope="session")
def _prometheus_binary() -> str:
    return find("prometheus")
