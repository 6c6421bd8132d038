"""Included: hosts and URLs from claims and what frontends say. What they say may be anything."""

import pytest

from registrar.hosts import HostBook
from registry.claims import Claim
from registry.keys import ClaimKey, Keyspace
from registry.names import long_labels
from registry.records import FrontendRecord

FRONTEND = FrontendRecord(url="http://dev.example.com:8080", domain="dev.example.com")
CLAIM = Claim(ClaimKey("main", "web"), ("main-web", "main"), 5)


def book(*claims: Claim, frontend: FrontendRecord | None = FRONTEND) -> HostBook:
    frontends = [frontend] if frontend else []
    return HostBook(claims, frontends, default_service="web", keys=Keyspace())


def test_the_url_is_of_the_short_host_where_there_is_one() -> None:
    hosts = book(CLAIM).of("main", "web")

    assert hosts.hosts == ("main-web.dev.example.com", "main.dev.example.com")
    assert hosts.url == "http://main.dev.example.com:8080"
    assert book(CLAIM).of("main", "api").url == "http://main-api.dev.example.com:8080"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://dev.example.com:80", "http://main.dev.example.com"),
        ("https://dev.example.com", "https://main.dev.example.com"),
        ("https://dev.example.com:8443/", "https://main.dev.example.com:8443"),
        ("http://dev.example.com:443", "http://main.dev.example.com:443"),
    ],
)
def test_a_port_that_goes_without_saying_is_not_said(url: str, shown: str) -> None:
    frontend = FrontendRecord(url=url, domain="dev.example.com")

    assert book(CLAIM, frontend=frontend).of("main", "web").url == shown


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("", "dev.example.com"),
        ("javascript:alert(1)", "dev.example.com"),
        ("http://dev.example.com:port", "dev.example.com"),
        ("http://dev.example.com:0", "dev.example.com"),
        ("http://[dev", "dev.example.com"),
        ("http://dev.example.com", "dev.example.com\x1b[31m"),
        ("http://dev.example.com", "evil/../"),
    ],
)
def test_a_frontend_that_no_url_can_be_made_of_is_passed_over(url: str, domain: str) -> None:
    found = book(CLAIM, frontend=FrontendRecord(url=url, domain=domain))

    assert not found.served
    assert found.of("main", "web").url == ""
    assert found.of("main", "web").labels == ("main-web", "main")


def test_a_frontend_has_the_last_word_on_the_default_service() -> None:
    frontend = FrontendRecord(url="http://x", domain="x", default_service="api")

    assert book(frontend=frontend).default_service == "api"
    assert book(frontend=None).default_service == "web"


def test_without_a_claim_the_labels_are_those_it_would_get() -> None:
    hosts = book(CLAIM).of("m/ain", "web")

    assert not hosts.claimed
    assert hosts.labels == ("m-ain-web", "m-ain")
    assert book(CLAIM).of("Main", "web").labels[1].startswith("main-")


def test_both_sides_are_told_of_a_conflict() -> None:
    other = Claim(ClaimKey("Main", "web"), (long_labels("Main", "web")[1],), 6)
    found = book(CLAIM, other)

    (said,) = found.conflicts("Main", "web")
    assert "main-web belongs to branch 'main'" in said
    (said,) = found.conflicts("main", "web")
    assert "branch 'Main' service 'web' is served as" in said


def test_a_branch_that_nobody_stands_in_the_way_of_hears_nothing() -> None:
    neighbour = Claim(ClaimKey("main2", "web"), ("main2-web", "main2"), 6)

    assert book(CLAIM, neighbour).conflicts("main", "web") == ()
    assert book(CLAIM, neighbour).conflicts("nobody", "web") == ()
