"""Included: the registrar's own settings, through click as people give them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from registrar.aws.endpoint import Base
from registrar.health import HealthSettings
from registrar.settings import (
    RegistrarSettings,
    instance_options,
    read_addition,
    read_place,
    read_reach,
    read_registrar,
)
from registry.faults import SettingsInvalid
from registry.records import Address

TASK_URL = "http://169.254.170.2/v4/abc"

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
        ("HEALTH_ECS", "sometimes"),
        ("SPOT_NOTICE", "5"),
        ("STOP_TIMEOUT", "2m"),
        ("ECS_CONTAINER_METADATA_URI_V4", "169.254.170.2/v4/abc"),
        ("ECS_CONTAINER_METADATA_URI_V4", "https://169.254.170.2/v4/abc"),
        ("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2:0/v4/abc"),
        ("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4\r\nX: y"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "169.254.169.254"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://a..b"),
    ],
)
def test_a_bad_value_is_refused_and_named(name: str, value: str) -> None:
    assert name in problems(ALL | {name: value})


def test_a_bad_port_is_not_called_missing_as_well() -> None:
    assert "not set" not in problems(ALL | {"PORT": "http"})


def test_a_hand_needs_the_registry_alone() -> None:
    assert read(REGISTRY, reader=read_reach).etcd.endpoints == ("http://etcd:2379",)
    assert "REGISTRY_URL" in problems({}, reader=read_reach)


def test_a_login_for_closed_frontends_is_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "login").write_text("anna:open: sésame\nrest\n")

    assert read(ALL).probe_login == ""
    assert read(ALL | {"PROBE_LOGIN": "anna:open: sésame"}).probe_login == "anna:open: sésame"
    by_file = read(ALL, "--probe-login-file", str(tmp_path / "login"))
    assert by_file.probe_login == "anna:open: sésame"
    assert "sésame" not in repr(by_file)
    _, login = read(REGISTRY | {"PROBE_LOGIN": "anna:"}, reader=read_addition)
    assert login == "anna:"


@pytest.mark.parametrize("text", ["sesame", ":sesame", "anna:ses\name", "anna:sesame\n"])
def test_a_bad_login_is_named_and_not_repeated(text: str, tmp_path: Path) -> None:
    said = problems(ALL | {"PROBE_LOGIN": text})

    assert said == "PROBE_LOGIN cannot be used: expected user:password, on one line"
    assert said in problems({"PROBE_LOGIN": text}, reader=read_addition)
    (tmp_path / "login").write_text(f"sesame\n{text}")
    for_file = problems(ALL | {"PROBE_LOGIN_FILE": str(tmp_path / "login")})
    assert "PROBE_LOGIN_FILE is " in for_file
    assert "expected user:password" in for_file
    assert "sesame" not in for_file


def test_a_login_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "login").write_bytes(b"anna:\xff")

    assert "cannot be read" in problems(ALL | {"PROBE_LOGIN_FILE": "/nowhere"})
    assert "is not UTF-8" in problems(ALL | {"PROBE_LOGIN_FILE": str(tmp_path / "login")})
    both = problems(ALL | {"PROBE_LOGIN": "anna:x", "PROBE_LOGIN_FILE": "/nowhere"})
    assert both == "PROBE_LOGIN and PROBE_LOGIN_FILE are both set; set one of them"


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


def test_without_a_word_of_aws_ec2_is_where_it_always_is_and_there_is_no_ecs() -> None:
    place = read(ALL).place

    assert place.ec2_url == Base("169.254.169.254", 80, "")
    assert (place.is_on_ec2, place.task_url, place.metadata_file) == (False, None, "")


def test_ecs_and_ec2_are_where_their_variables_say() -> None:
    place = read(
        ALL
        | {
            "ECS_CONTAINER_METADATA_URI_V4": TASK_URL,
            "ECS_CONTAINER_METADATA_FILE": "/opt/ecs/metadata/1/ecs-container-metadata.json",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[fd00:ec2::254]/",
            "CONTAINER": "web",
        }
    ).place

    assert place.task_url == Base("169.254.170.2", 80, "/v4/abc")
    assert place.metadata_file == "/opt/ecs/metadata/1/ecs-container-metadata.json"
    assert (place.ec2_url, place.is_on_ec2) == (Base("fd00:ec2::254", 80, ""), True)
    assert place.container == "web"


@pytest.mark.parametrize(
    ("word", "is_asked"),
    [("true", False), ("True", False), ("TRUE", False), ("false", True), ("1", True), ("", True)],
)
def test_ec2_is_turned_off_by_the_word_that_awss_own_tools_know(word: str, is_asked: bool) -> None:
    place = read(ALL | {"AWS_EC2_METADATA_DISABLED": word}).place

    assert (place.ec2_url is not None) == is_asked


def test_all_bad_urls_of_aws_are_named_at_once() -> None:
    said = problems(
        ALL
        | {
            "ECS_CONTAINER_METADATA_URI_V4": "ftp://x",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "x",
            "HOST_PORT": "x",
        }
    )

    for name in ("ECS_CONTAINER_METADATA_URI_V4", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "HOST_PORT"):
        assert f"{name} is '" in said


@pytest.mark.parametrize(
    "found_by",
    [
        {"ECS_CONTAINER_METADATA_URI_V4": TASK_URL},
        {"ECS_CONTAINER_METADATA_FILE": "/metadata"},
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_where_needs_no_registry_if_aws_knows_the_ip(found_by: dict[str, str]) -> None:
    assert read({"PORT": "80"} | found_by, reader=read_place).port == 80


def test_what_is_unusual_on_ecs_is_off_unless_it_is_wished_for() -> None:
    settings: RegistrarSettings = read(ALL)
    assert (settings.heeds_spot, settings.stop_timeout_s) == (False, 30)
    assert settings.health is not None
    assert not settings.health.of_task

    wished: RegistrarSettings = read(
        ALL
        | {
            "SPOT_NOTICE": "on",
            "STOP_TIMEOUT": "115",
            "HEALTH_ECS": "on",
            "ECS_CONTAINER_METADATA_URI_V4": TASK_URL,
        }
    )
    assert (wished.heeds_spot, wished.stop_timeout_s) == (True, 115)
    assert wished.health is not None
    assert wished.health.of_task


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"HEALTH_ECS": "on"}, "ECS_CONTAINER_METADATA_URI_V4 is not set"),
        (
            {"SPOT_NOTICE": "on", "AWS_EC2_METADATA_DISABLED": "true"},
            "AWS_EC2_METADATA_DISABLED is set",
        ),
    ],
)
def test_what_nobody_would_answer_is_refused(more: dict[str, str], words: str) -> None:
    assert words in problems(ALL | more)


@pytest.mark.parametrize(
    "more", [{"HEALTH_PATH": "/ok"}, {"HEALTH_ADDRESS": "127.0.0.1:1"}, {"HEALTH_INTERVAL": "1"}]
)
def test_health_by_ecs_is_asked_in_one_way_and_not_too_often(more: dict[str, str]) -> None:
    ecs = {"HEALTH_ECS": "on", "ECS_CONTAINER_METADATA_URI_V4": TASK_URL}

    assert next(iter(more)) in problems(ALL | ecs | more)
