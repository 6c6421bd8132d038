"""All bad settings of the regenerator at once, and none replaced in silence."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from regenerator.cli import commands
from regenerator.settings import RegeneratorSettings, read_settings
from registry.faults import SettingsInvalid
from registry.records import Address

OUR_TEMPLATES = Path(__file__).parents[2] / "nginx"


def given_settings(**changed: str) -> dict[str, str]:
    """The defaults of the command, as they come out of click, with some changed."""
    defaults = {
        str(parameter.name): str(parameter.default or "")
        for parameter in commands.commands["run"].params
    }
    return {**defaults, "registry_url": "http://127.0.0.1:2379", **changed}


def read(**changed: str) -> RegeneratorSettings:
    return read_settings(given_settings(**changed), templates=OUR_TEMPLATES)


def problems_of(**changed: str) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as refused:
        read(**changed)
    return tuple(refused.value.problems)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read()

    assert settings.text.domain == "dev.example.com"
    assert settings.text.public_url == "http://dev.example.com:8080"
    assert settings.rules.default_service == "web"
    assert settings.rules.addresses.networks == tuple(
        map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
    )
    ports = {port for low, high in settings.rules.addresses.ports for port in range(low, high + 1)}
    closed = {*range(2375, 2381), 10250, *range(51678, 51681)}
    assert ports == {80, 443, *range(1024, 65536)} - closed
    assert settings.text.trusted_proxies == ()
    assert settings.keys.prefix == "/branchfront"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("listen", "localhost"),
        ("domain", "Dev.Example.com"),
        ("domain", "localhost; include /etc/passwd"),
        ("public_url", "dev.example.com"),
        ("public_url", "http://dev.example.com:x"),
        ("public_url", "https://dev.example.com/path"),
        ("allow_networks", "10.0.0.1/8"),
        ("allow_networks", "everything"),
        ("allow_ports", "443-80"),
        ("allow_ports", "http"),
        ("allow_ports", ","),
        ("trusted_proxies", "10.0.0.0/8; deny all"),
        ("upstream_blocks", "-1"),
        ("old_generations", "many"),
        ("workers", "0"),
        ("access_log", "/var/log/x y"),
        ("access_log", "$host"),
        ("read_timeout", "0"),
        ("read_timeout", "1s"),
        ("stream_timeout", "90000"),
        ("keepalive_min_timeout", ""),
        ("shutdown_timeout", "ten"),
        ("reload_pause", "61"),
        ("relist", "0.5"),
        ("registry_prefix", "branchfront"),
        ("default_service", "日本"),
    ],
)
def test_a_bad_setting_is_refused_by_the_name_of_its_variable(name: str, text: str) -> None:
    found = problems_of(**{name: text})

    assert len(found) == 1
    assert found[0].startswith(f"{name.upper()} is {text!r}: ")


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = problems_of(
        registry_url="", listen="x", domain="x y", allow_ports="x", templates="/nowhere"
    )

    names = [problem.split()[0] for problem in found]
    assert names == ["REGISTRY_URL", "LISTEN", "TEMPLATES", "ALLOW_PORTS", "DOMAIN"]


def test_a_bad_registry_url_is_told_once() -> None:
    assert len(problems_of(registry_url="etcd:2379")) == 1


def test_a_folder_without_a_base_configuration_is_no_folder_of_templates(tmp_path: Path) -> None:
    assert "there is no nginx.conf in it" in problems_of(templates=str(tmp_path))[0]
    assert read(templates=str(OUR_TEMPLATES)).templates == OUR_TEMPLATES


@pytest.mark.parametrize(
    ("given", "public_url"),
    [
        ("", "http://branches.test:81"),
        ("https://branches.test", "https://branches.test"),
        ("https://other.example:8443/", "https://branches.test:8443"),
    ],
)
def test_the_url_that_people_use_has_our_domain_in_it(given: str, public_url: str) -> None:
    settings = read(domain="branches.test", listen="127.0.0.1:81", public_url=given)

    assert settings.text.public_url == public_url


def test_what_nginx_listens_on_is_no_address_of_a_service() -> None:
    settings = read(listen="10.0.0.1:8080,[fd00::1]:8080")

    own = {Address("10.0.0.1", 8080), Address("fd00::1", 8080)}
    assert settings.rules.addresses.own == own
    assert settings.text.listen == ("10.0.0.1:8080", "[fd00::1]:8080")


def test_the_state_folder_is_where_it_was_said_whatever_the_working_folder_becomes() -> None:
    assert read(state="some/where").state == Path.cwd() / "some" / "where"
