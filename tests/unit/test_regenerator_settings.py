"""All bad settings of the regenerator at once, and none replaced in silence."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from regenerator.certificates import read_pair
from regenerator.cli import commands
from regenerator.settings import RegeneratorSettings, read_settings
from registry.faults import SettingsInvalid
from registry.records import Address
from tests.certificates import Authority

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
        ("protect", "everything"),
        ("cookie_domain", "none"),
        ("basic_auth", "/nowhere/htpasswd"),
        ("basic_auth", "/etc/x;y"),
        ("basic_auth", "htpasswd"),
        ("basic_auth", "/dev/null"),
        ("allow_clients", "10.0.0.1/8"),
        ("allow_clients", "0.0.0.0/0; allow all"),
        ("auth_url", "127.0.0.1:4180"),
        ("auth_url", "http://sign-in:4180"),
        ("auth_url", "https://127.0.0.1:4180"),
        ("auth_url", "http://127.0.0.1:4180/oauth2"),
        ("auth_cookie", "a b"),
        ("auth_cookie", "(.*)"),
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


@pytest.fixture(name="pair")
def _pair(tmp_path: Path) -> dict[str, str]:
    certificate, key = Authority(tmp_path).sign("pair")
    return {"listen_tls": "0.0.0.0:8443", "tls_cert": certificate, "tls_key": key}


def test_with_tls_people_use_it(pair: dict[str, str]) -> None:
    assert read(**pair).text.public_url == "https://dev.example.com:8443"
    at_443 = read(**{**pair, "listen_tls": "443"})
    assert at_443.text.public_url == "https://dev.example.com"
    assert at_443.text.public_port == ""
    assert at_443.certificate is not None
    assert at_443.text.tls == read_pair(at_443.certificate).name
    assert Address("127.0.0.1", 443) in at_443.rules.addresses.own


def test_tls_needs_all_of_it(pair: dict[str, str], tmp_path: Path) -> None:
    other = Authority(tmp_path).sign("other")
    cases = [
        ({**pair, "tls_key": ""}, "LISTEN_TLS is set, and TLS_KEY is not"),
        ({**pair, "listen_tls": ""}, "TLS_CERT is set, and LISTEN_TLS is not"),
        ({**pair, "listen_tls": "localhost"}, "LISTEN_TLS is 'localhost'"),
        ({**pair, "tls_key": other[1]}, "do not belong together"),
        ({**pair, "tls_cert": "/nowhere"}, "/nowhere cannot be read"),
        ({**pair, "listen": "0.0.0.0:8443"}, "LISTEN and LISTEN_TLS both have 0.0.0.0:8443"),
        ({**pair, "public_url": "http://dev.example.com"}, "begin it with https://"),
    ]
    for given, reason in cases:
        [found] = problems_of(**given)
        assert reason in found


def test_who_is_let_in_is_said_once(tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    passwords.write_text("# people\nanna:$apr1$x$y\n")
    basic = {"basic_auth": str(passwords)}
    sign_in = {"auth_url": "http://127.0.0.1:4180/"}

    assert read(**basic).text.is_listed_openly is False
    assert read(**basic, protect="all").text.is_listed_openly is True
    assert read().text.is_listed_openly is True
    assert read(**sign_in).text.auth_url == "http://127.0.0.1:4180"
    assert read(allow_clients="10.0.0.0/8,fd00::/8").text.allow_clients == (
        "10.0.0.0/8",
        "fd00::/8",
    )
    assert "set one of them" in problems_of(**basic, **sign_in)[0]
    assert "leave it at isolate" in problems_of(**sign_in, cookie_domain="share")[0]
    assert "nothing says who is let in" in problems_of(protect="all")[0]
    assert "there is no network in it" in problems_of(allow_clients=" , ")[0]


@pytest.mark.parametrize(
    "name", ["__Host-session", "__Secure-session", "__host-session", "session"]
)
def test_a_cookies_prefix_is_stripped_with_it_in_any_case(name: str) -> None:
    assert read(auth_url="http://127.0.0.1:4180", auth_cookie=name).text.auth_cookie == "session"
