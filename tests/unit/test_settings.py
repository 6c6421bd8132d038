"""All bad settings at once, none replaced in silence, and no secret in any message."""

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from registry.etcd import EtcdSettings
from registry.faults import SettingsInvalid
from registry.keys import Keyspace
from registry.settings import (
    Problems,
    RegistrySettings,
    read_registry,
    registry_options,
)
from registry.values import (
    parse_networks,
    parse_port,
    parse_seconds,
)

NAMES = (
    "registry_url",
    "registry_prefix",
    "registry_ca",
    "registry_ca_text",
    "registry_cert",
    "registry_key",
    "registry_user",
    "registry_password",
    "registry_password_file",
    "default_service",
)
SECRET = "hunter2-and-more"


def given_settings(**changed: str) -> dict[str, str]:
    return {
        **dict.fromkeys(NAMES, ""),
        "registry_prefix": "/branchfront",
        "default_service": "web",
        **changed,
    }


def read(**changed: str) -> RegistrySettings:
    problems = Problems()
    settings = read_registry(given_settings(**changed), problems)
    problems.settle()
    return settings


def problems_of(**changed: str) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as refused:
        read(**changed)
    return refused.value.problems


def etcd_of(**changed: str) -> EtcdSettings:
    etcd = read(**changed).etcd
    assert etcd is not None
    return etcd


def test_without_a_url_there_is_no_registry() -> None:
    assert read() == RegistrySettings(None, Keyspace("/branchfront"), "web")


@pytest.mark.parametrize(
    ("url", "endpoints"),
    [
        ("http://etcd:2379", ("http://etcd:2379",)),
        ("http://etcd", ("http://etcd:2379",)),
        ("https://10.0.0.1:443/", ("https://10.0.0.1:443",)),
        ("http://[fd00::1]:2379", ("http://[fd00::1]:2379",)),
        (" http://a:1 , http://b:2,", ("http://a:1", "http://b:2")),
        ("HTTP://Etcd:1", ("http://etcd:1",)),
    ],
)
def test_endpoints_are_read_from_the_url(url: str, endpoints: tuple[str, ...]) -> None:
    assert etcd_of(registry_url=url).endpoints == endpoints


def test_user_and_password_may_stand_in_the_url() -> None:
    etcd = etcd_of(registry_url="http://me:p%40ss%2Fword@etcd:2379,http://other:2379")

    assert (etcd.user, etcd.password) == ("me", "p@ss/word")
    assert etcd.endpoints == ("http://etcd:2379", "http://other:2379")


def test_user_and_password_may_stand_beside_the_url() -> None:
    etcd = etcd_of(registry_url="http://e", registry_user="me", registry_password=SECRET)

    assert (etcd.user, etcd.password) == ("me", SECRET)


def test_the_same_login_may_be_given_twice() -> None:
    etcd = etcd_of(
        registry_url="http://me:pw@a,http://me:pw@b", registry_user="me", registry_password="pw"
    )

    assert (etcd.user, etcd.password) == ("me", "pw")


@pytest.mark.parametrize(
    "changed",
    [
        {"registry_url": "http://me:a@one,http://me:b@two"},
        {"registry_url": "http://me:a@one", "registry_user": "you", "registry_password": "a"},
        {"registry_url": "http://me:a@one", "registry_user": "me"},
    ],
)
def test_two_logins_that_differ_are_refused(changed: dict[str, str]) -> None:
    """Taking either one would be a guess."""
    assert problems_of(**changed) == (
        "user and password are given twice, and differ; give them once",
    )


def test_a_password_may_stand_in_a_file_of_which_the_first_line_counts(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\nrest\n")

    etcd = etcd_of(
        registry_url="http://e",
        registry_user="me",
        registry_password_file=str(tmp_path / "password"),
    )

    assert etcd.password == SECRET


def test_an_empty_password_file_is_an_empty_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("")

    etcd = etcd_of(
        registry_url="http://e",
        registry_user="me",
        registry_password_file=str(tmp_path / "password"),
    )

    assert (etcd.user, etcd.password) == ("me", "")


def test_certificates_of_any_encoding_are_taken(tmp_path: Path) -> None:
    """Bundles carry comments in whatever encoding their makers had."""
    (tmp_path / "ca.pem").write_bytes(b"# Autorit\xe9\n")

    assert etcd_of(registry_url="https://e", registry_ca=str(tmp_path / "ca.pem")).ca


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"registry_prefix": "branchfront"}, "REGISTRY_PREFIX is 'branchfront': "),
        ({"registry_prefix": ""}, "REGISTRY_PREFIX is '': "),
        ({"default_service": "-"}, "DEFAULT_SERVICE is '-': service '-' has no letter"),
        ({"default_service": "x" * 41}, "longer than 40 characters"),
        ({"registry_url": ","}, "REGISTRY_URL has no endpoint in it"),
        ({"registry_url": "etcd:2379"}, "begins with neither http:// nor https://"),
        ({"registry_url": "ftp://etcd"}, "begins with neither http:// nor https://"),
        ({"registry_url": "http://"}, "has no host"),
        ({"registry_url": "http://etcd:99999"}, "the port of one is no number"),
        ({"registry_url": "http://[::1:2379"}, "its host no address"),
        ({"registry_url": "http://etcd:2379/v3"}, "something behind the port"),
        ({"registry_url": "http://etcd?a=b"}, "something behind the port"),
        ({"registry_ca": "/nowhere/ca.pem"}, "REGISTRY_CA is '/nowhere/ca.pem': the file cannot"),
        ({"registry_ca_text": "no PEM"}, "REGISTRY_CA_TEXT holds no certificates (PEM"),
        ({"registry_ca_text": "x", "registry_ca": "/dev/null"}, "are both set; set one of them"),
        ({"registry_cert": "/dev/null"}, "REGISTRY_CERT and REGISTRY_KEY go together"),
        ({"registry_key": "/dev/null"}, "REGISTRY_CERT and REGISTRY_KEY go together"),
        ({"registry_password_file": "/nowhere"}, "REGISTRY_PASSWORD_FILE is '/nowhere'"),
        (
            {"registry_password": "a", "registry_password_file": "/dev/null"},
            "are both set; set one of them",
        ),
        (
            {"registry_url": "http://e", "registry_password": "a"},
            "REGISTRY_PASSWORD is set without REGISTRY_USER",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_by_its_name(
    changed: dict[str, str], problem: str
) -> None:
    [found] = problems_of(**changed)

    assert problem in found


def test_all_that_is_bad_is_told_at_once() -> None:
    problems = problems_of(
        registry_url="etcd,http://e:x",
        registry_prefix="x",
        registry_cert="/dev/null",
        registry_ca="/nowhere",
        default_service="",
    )

    assert len(problems) == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"registry_url": f"http://me:{SECRET}@etcd:x"},
        {"registry_url": f"http://me:{SECRET}@[etcd"},
        {"registry_url": f"http://me:/{SECRET}@etcd"},
        {"registry_url": f"http://me:#{SECRET}@etcd"},
        {"registry_url": f"http://me:?{SECRET}@etcd"},
        {"registry_url": f"me:{SECRET}@etcd"},
        {"registry_url": f"http://me:{SECRET}@etcd,http://you:{SECRET}@etcd"},
        {"registry_url": "http://e", "registry_password": SECRET},
        {"registry_password": SECRET, "registry_password_file": "/dev/null"},
    ],
)
def test_no_message_repeats_a_password(changed: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        read(**changed)

    fault: BaseException | None = refused.value
    while fault is not None:
        assert SECRET not in str(fault)
        fault = fault.__cause__


def test_a_password_file_that_is_no_text_is_refused_without_quoting_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"hunter\xff2")

    [problem] = problems_of(registry_password_file=str(tmp_path / "password"))

    assert problem.endswith("the file is not UTF-8")


def test_settings_that_are_printed_show_no_password() -> None:
    assert SECRET not in repr(read(registry_url=f"http://me:{SECRET}@etcd"))


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_text_in_any_setting_is_read_or_refused(changed: Mapping[str, str]) -> None:
    problems = Problems()
    read_registry(given_settings(**changed), problems)

    assert all(isinstance(problem, str) for problem in problems.found)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("15", 15.0), ("2.5", 2.5)])
def test_seconds_are_read(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1e3", "nan", "inf", " 1", "1s", "86401", "٣", "1."])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="seconds"):
        parse_seconds(text)


def test_seconds_may_have_narrower_bounds() -> None:
    with pytest.raises(ValueError, match="expected 2 to 60 seconds"):
        parse_seconds("1", least=2, most=60)


@pytest.mark.parametrize("text", ["1", "80", "65535"])
def test_a_port_is_read(text: str) -> None:
    assert parse_port(text) == int(text)


@pytest.mark.parametrize("text", ["", "0", "65536", "http", "-1", "80.0", "٨٠", "8_0", "true"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a port"):
        parse_port(text)


def test_networks_are_read() -> None:
    assert parse_networks("10.0.0.0/8, fd00::/8,127.0.0.1") == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("fd00::/8"),
        ipaddress.ip_network("127.0.0.1/32"),
    )
    assert parse_networks("") == ()


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "everything", "10.0.0.0/8 fd00::/8"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected CIDRs"):
        parse_networks(text)


def run(arguments: list[str], environ: Mapping[str, str]) -> tuple[Result, dict[str, Any]]:
    """What a command with the registry's flags is called with."""
    seen: dict[str, Any] = {}

    def act(**settings: str) -> None:
        seen.update(settings)

    command: Callable[..., Any] = registry_options(act)
    runner = CliRunner()
    return runner.invoke(click.command()(command), arguments, env=dict(environ)), seen


def test_a_flag_wins_over_its_variable() -> None:
    _, seen = run(
        ["--registry-url", "http://flag"],
        {"REGISTRY_URL": "http://variable", "REGISTRY_USER": "variable"},
    )

    assert seen["registry_url"] == "http://flag"
    assert seen["registry_user"] == "variable"
    assert seen["registry_prefix"] == "/branchfront"


def test_the_flags_are_those_that_are_judged() -> None:
    _, seen = run([], {})

    assert set(seen) == set(NAMES)


def test_a_password_is_taken_from_its_variable_alone() -> None:
    """A flag would show it to everybody on the machine."""
    _, seen = run([], {"REGISTRY_PASSWORD": SECRET})
    refused, _ = run(["--registry-password", SECRET], {})

    assert seen["registry_password"] == SECRET
    assert refused.exit_code == 2
    assert "set REGISTRY_PASSWORD or REGISTRY_PASSWORD_FILE" in refused.output
    assert SECRET not in refused.output


def test_help_names_every_variable_but_the_secret_one() -> None:
    shown, _ = run(["--help"], {"REGISTRY_PASSWORD": SECRET, "REGISTRY_URL": "http://e"})

    assert "REGISTRY_PASSWORD_FILE" in shown.output
    assert "--registry-password " not in shown.output
    assert SECRET not in shown.output
