"""Included: events as an engine writes them, and where an engine is. Excluded: any engine."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.engine import Engine, Event, is_mounted, read_event
from registry.faults import SettingsInvalid
from tests.strategies import any_json

ID = "971a83ee13476a142d1496dce4c575a3240a79096b3ff51a2049ec6244c2fe01"


def event(action: str, kind: str = "container", **attributes: str) -> dict[str, Any]:
    """As Docker 20.10 writes it, less what nobody reads."""
    actor = {"ID": ID, "Attributes": {"image": "python", "name": "shop-web-1", **attributes}}
    return {"status": action, "id": ID, "Type": kind, "Action": action, "Actor": actor}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (event("start"), Event(ID, "start")),
        (event("kill", signal="15"), Event(ID, "kill", 15)),
        (event("kill", signal="SIGTERM"), Event(ID, "kill")),
        (event("die", exitCode="137"), Event(ID, "die")),
        (event("health_status: unhealthy"), Event(ID, "health_status")),
        (event("connect", "network", container="c0ffee"), Event("c0ffee", "connect")),
        # a network that is connected to nothing that we know
        (event("connect", "network"), None),
        ({"Type": "container", "Action": "start", "Actor": {"ID": ID}}, Event(ID, "start")),
        ({"Type": "container", "Action": "start", "Actor": {"ID": ""}}, None),
        ({"Type": "container", "Action": "start", "Actor": None}, None),
        ({"Type": "container", "Action": "start"}, None),
        (["start"], None),
        (None, None),
    ],
)
def test_an_event_names_its_container(document: object, expected: Event | None) -> None:
    assert read_event(document) == expected


@given(
    any_json
    | st.dictionaries(st.sampled_from(["Type", "Action", "Actor"]), any_json)
    | st.fixed_dictionaries(
        {
            "Type": st.sampled_from(["container", "network"]),
            "Action": any_json,
            "Actor": st.fixed_dictionaries({"ID": any_json, "Attributes": any_json}),
        }
    )
)
def test_whatever_an_engine_writes_is_an_event_or_none(document: object) -> None:
    found = read_event(document)

    assert found is None or (found.container and found.signal >= 0)


def test_an_engine_is_there_if_its_socket_is_or_if_it_is_elsewhere(tmp_path: Path) -> None:
    here = tmp_path / "docker.sock"
    assert not is_mounted(f"unix://{here}")
    here.touch()
    assert is_mounted(f"unix://{here}")
    assert is_mounted("tcp://10.0.0.7:2376")


@pytest.mark.parametrize("url", ["ftp://10.0.0.7", "10.0.0.7:x", "tcp://"])
def test_an_engine_that_cannot_be_is_a_bad_setting(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="DOCKER_HOST is "):
        Engine(url)
