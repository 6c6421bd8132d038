"""Included: the registrar's own settings, through click as people give them."""

from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner

from registrar.health import HealthSettings
from registrar.settings import (
    RegistrarSettings,
    instance_options,
    read_place,
    read_reach,
    read_registrar,
)
from registry.faults import SettingsInvalid
from registry.records import Address

REGISTRY = {"REGISTRY_URL": "http://etcd:2379"}
ALL = REGISTRY | {"NAME": "feature/login", "SERVICE": "web", "PORT": "8080"}


def read(
    environ: dict[str, str],
    *arguments: str,
    reader: Callable[..., Any] = lambda given: read_registrar(given, wait=""),
) -> Any:
    """Have click gather the settings, and a reader judge them."""
    read: list[Any] = []

    @click.command()
    @instance_options
    def command(**given: str) -> None:
        read.append(reader(given))

    result = CliRunner().invoke(command, arguments, env=environ)
    if result.exception is not None:
        raise result.exception
    return read[0]


def problems(environ: dict[str, str], *arguments: str, **more: Any) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        read(environ, *arguments, **more)
    return str(caught.value)


def test_what_is_not_said_has_the_contracts_default() -> None:
    settings: RegistrarSettings = read(ALL)

    assert (settings.branch, settings.service) == ("feature/login", "web")
    assert (settings.ttl_s, settings.drain_s, settings.release_timeout_s) == (15, 2, 10)
    assert settings.place.port == 8080
    assert settings.place.endpoints == ("http://etcd:2379",)
    assert settings.wait_s is None


def test_a_flag_wins_over_its_variable() -> None:
    settings = read(ALL | {"TTL": "20"}, "--ttl", "30", "--name", "main")

    assert (settings.ttl_s, settings.branch) == (30, "main")


def test_branch_is_read_where_name_is_not_set() -> None:
    del (environ := dict(ALL))["NAME"]

    assert read(environ | {"BRANCH": "main"}).branch == "main"
    assert read(ALL | {"BRANCH": "main"}).branch == "feature/login"


def test_all_that_is_missing_is_named_at_once() -> None:
    said = problems({})

    for name in ("REGISTRY_URL", "NAME", "SERVICE", "PORT"):
        assert f"{name} " in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TTL", "1"),
        ("TTL", "1.5"),
        ("TTL", "-1"),
        ("TTL", "100000"),
        ("DRAIN", "soon"),
        ("RELEASE_TIMEOUT", "nan"),
        ("PORT", "0"),
        ("PORT", "http"),
        ("HOST_PORT", "65536"),
        ("IP", "example.com"),
        ("IP", "::ffff:10.0.0.1"),
        ("SERVICE", "日本"),
        ("SERVICE", "x" * 41),
        ("NAME", "a\nb"),
        ("REGISTRY_URL", ","),
        ("HEALTH_PATH", "healthz"),
        ("HEALTH_PATH", "/a b"),
        ("HEALTH_PATH", "/a\r\nX: y"),
        ("HEALTH_TCP", "maybe"),
        ("HEALTH_ADDRESS", "localhost:80"),
        ("HEALTH_INTERVAL", "0"),
        ("HEALTH_TIMEOUT", "-1"),
        ("HEALTH_FAILURES", "0"),
        ("HEALTH_PASSES", "1.5"),
    ],
)
def test_a_bad_value_is_refused_and_named(name: str, value: str) -> None:
    assert name in problems(ALL | {name: value})


def test_a_bad_port_is_not_called_missing_as_well() -> None:
    assert "not set" not in problems(ALL | {"PORT": "http"})


def test_a_hand_needs_the_registry_alone() -> None:
    assert read(REGISTRY, reader=read_reach).etcd.endpoints == ("http://etcd:2379",)
    assert "REGISTRY_URL" in problems({}, reader=read_reach)


def test_where_needs_a_port_and_something_to_find_the_ip_by() -> None:
    assert read({"IP": "10.0.0.5", "PORT": "80"}, reader=read_place).ip == "10.0.0.5"
    assert read(REGISTRY | {"HOST_PORT": "80"}, reader=read_place).host_port == 80
    said = problems({}, reader=read_place)
    assert "PORT" in said
    assert "REGISTRY_URL" in said


def test_the_port_is_asked_unless_somebody_says_otherwise() -> None:
    assert read(ALL).health == HealthSettings()
    assert read(ALL | {"HEALTH_TCP": "off"}).health is None
    assert read(ALL | {"HEALTH_TCP": "off", "HEALTH_PATH": "/ok"}).health.path == "/ok"
    assert read(ALL, "--health-tcp", "No").health is None


def test_what_is_asked_and_how_often_can_be_said() -> None:
    settings = read(
        ALL
        | {
            "HEALTH_PATH": "/healthz?deep=1",
            "HEALTH_ADDRESS": "127.0.0.1:81",
            "HEALTH_INTERVAL": "0.5",
            "HEALTH_TIMEOUT": "1",
            "HEALTH_FAILURES": "4",
            "HEALTH_PASSES": "1",
        }
    )

    assert settings.health == HealthSettings(
        "/healthz?deep=1", Address("127.0.0.1", 81), 0.5, 1.0, failures=4, passes=1
    )
