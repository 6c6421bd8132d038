"""What a request becomes on its way to a service: asked of a real nginx, never twice.

Whatever the client sends, the service learns the truth about host and client, and a request that
could be read in two ways reaches nobody.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.system.frontend import Frontend, exchange
from tests.system.origin import Forwarder, Origin, refusing

pytestmark = pytest.mark.system

HOST = "echo.localhost"

FORWARDING = (
    "Forwarded",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-Forwarded-For",
    "X-Original-Host",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Forwarded",
    "Forwarded-For",
    "X-Forwarded-By",
    "X-Forwarded-Port",
    "X-Forwarded-Path",
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Forwarded-User",
    "X-HTTP-Host-Override",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "Front-End-Https",
    "Proxy",
    "X_Forwarded_For",
    "X_Forwarded_Proto",
    "X_Real_IP",
)
"""Headers by which services are told where a request comes from, and one that CGI reads."""


@pytest.fixture(scope="module", name="echo")
def _echo(frontend: Frontend) -> Iterator[Origin]:
    with Origin("echo") as echo:
        frontend.put("echo", "web", echo.address)
        yield echo


@pytest.fixture(scope="module", name="trusting")
def _trusting(start_frontend: Callable[..., Frontend]) -> Frontend:
    return start_frontend(TRUSTED_PROXIES="127.0.0.0/8")


@pytest.mark.parametrize(
    "host",
    [
        "echo.localhost",
        "echo-web.localhost",
        "ECHO.LocalHost",
        "echo.localhost:1",
        "echo.localhost.",
        "Echo.localhost.:65535",
    ],
)
def test_a_host_is_found_however_it_is_written_and_reaches_the_service_so(
    frontend: Frontend, echo: Origin, host: str
) -> None:
    with frontend.connect() as link:
        assert exchange(link, host).text == "echo"

    assert echo.seen[-1].value("Host") == host
    assert echo.seen[-1].value("X-Forwarded-Host") == host


def test_an_absolute_uri_has_the_last_word_over_the_host_header(
    frontend: Frontend, echo: Origin
) -> None:
    """RFC 9112, section 3.2.2; else a service is shown a host that it was not asked by."""
    with Origin("other") as other:
        frontend.put("absolute", "web", other.address)

        answer = frontend.ask("absolute.localhost", "http://echo.localhost:81/x?y")

    assert answer.text == "echo"
    assert echo.seen[-1].target == "/x?y"
    assert echo.seen[-1].value("Host") == "echo.localhost:81"
    assert echo.seen[-1].value("X-Forwarded-Host") == "echo.localhost:81"
    assert not other.seen


@pytest.mark.parametrize(
    "target", ["/a%2Fb", "//a//b", "/a/b/..%2fc", "/%41?q=%20&//", "/a?b?c", "/x/.%2e/y", "/a;b=1"]
)
def test_the_uri_reaches_the_service_byte_for_byte(
    frontend: Frontend, echo: Origin, target: str
) -> None:
    assert frontend.ask(HOST, target).text == "echo"
    assert echo.seen[-1].target == target


def test_the_service_learns_who_asks_and_by_which_name(frontend: Frontend, echo: Origin) -> None:
    answer = frontend.ask(HOST)

    seen = echo.seen[-1]
    assert seen.value("Host") == f"{HOST}:{frontend.port}"
    assert seen.value("X-Forwarded-Host") == f"{HOST}:{frontend.port}"
    assert seen.value("X-Forwarded-For") == "127.0.0.1"
    assert seen.value("X-Forwarded-Proto") == "http"
    assert seen.value("X-Request-Id") == answer.headers["x-request-id"]


def test_the_answer_says_which_instance_gave_it_and_is_not_for_search_engines(
    frontend: Frontend, echo: Origin
) -> None:
    headers = frontend.ask(HOST).headers

    assert headers["x-served-by"] == echo.address
    assert headers["x-robots-tag"] == "noindex"


def test_what_a_stranger_says_about_where_a_request_comes_from_is_not_passed_on(
    frontend: Frontend, echo: Origin
) -> None:
    lies = dict.fromkeys((*FORWARDING, "X-Forwarded-For", "X-Request-Id"), "6.6.6.6")
    lies |= {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    # what is named here is dropped by a proxy that obeys
    lies["Connection"] = "close, X-Forwarded-For, X-Forwarded-Host, X-Request-Id"

    answer = frontend.ask(HOST, headers=lies)

    seen = echo.seen[-1]
    assert {name: seen.values(name) for name in FORWARDING if seen.values(name)} == {}
    assert seen.value("X-Forwarded-For") == "127.0.0.1"
    assert seen.value("X-Forwarded-Proto") == "http"
    assert seen.value("X-Forwarded-Host") == f"{HOST}:{frontend.port}"
    assert seen.value("X-Request-Id") == answer.headers["x-request-id"] != "6.6.6.6"
    assert not any("6.6.6.6" in value for _, value in seen.headers)


def test_a_trusted_proxy_is_believed(trusting: Frontend) -> None:
    told = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 127.0.0.2", "X-Forwarded-Proto": "https"}
    with Origin() as origin:
        trusting.put("trusted", "web", origin.address)

        trusting.ask("trusted.localhost", "/believed", headers=told)

    # the nearest one that is no trusted proxy; what lies behind it may be a lie
    assert origin.seen[-1].value("X-Forwarded-For") == "203.0.113.9"
    assert origin.seen[-1].value("X-Forwarded-Proto") == "https"
    assert trusting.wait_for_log(path="/believed")["client"] == "203.0.113.9"


def test_a_trusted_proxy_is_not_believed_a_scheme_that_there_is_not(trusting: Frontend) -> None:
    with Origin() as origin:
        trusting.put("scheme", "web", origin.address)

        trusting.ask("scheme.localhost", headers={"X-Forwarded-Proto": "javascript"})

    assert origin.seen[-1].value("X-Forwarded-Proto") == "http"


CLIENT = b"Connection: close\r\n\r\n"
TO_ECHO = b"GET /smuggled HTTP/1.1\r\nHost: echo.localhost\r\n"
POST_TO_ECHO = b"POST /smuggled HTTP/1.1\r\nHost: echo.localhost\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(TO_ECHO + b"Host: main.localhost\r\n\r\n", id="two hosts"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: echo.localhost:9x\r\n\r\n", id="a bad port"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: me@echo.localhost\r\n\r\n", id="a user"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: echo.localhost/x\r\n\r\n", id="a path in the host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: echo.localhost\x00\r\n\r\n", id="a NUL"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : echo.localhost\r\n\r\n", id="a space before :"),
        pytest.param(TO_ECHO + b" folded: x\r\n\r\n", id="a folded line"),
        pytest.param(
            POST_TO_ECHO + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="a length and chunks",
        ),
        pytest.param(
            POST_TO_ECHO + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", id="two lengths"
        ),
        pytest.param(POST_TO_ECHO + b"Content-Length: +4\r\n\r\nabcd", id="a signed length"),
        pytest.param(
            POST_TO_ECHO + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="an unknown encoding"
        ),
        pytest.param(
            POST_TO_ECHO + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            id="an encoding behind chunks",
        ),
        pytest.param(
            b"POST / HTTP/1.0\r\nHost: echo.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\n",
            id="chunks in HTTP/1.0",
        ),
        pytest.param(b"CONNECT echo.localhost:80 HTTP/1.1\r\nHost: x\r\n\r\n", id="a tunnel"),
        pytest.param(b"TRACE / HTTP/1.1\r\nHost: echo.localhost\r\n\r\n", id="an echo of headers"),
        pytest.param(b"GET http://me@echo.localhost/ HTTP/1.1\r\nHost: x\r\n\r\n", id="a URI user"),
    ],
)
def test_a_request_that_can_be_read_in_two_ways_reaches_nobody(
    frontend: Frontend, echo: Origin, request_bytes: bytes
) -> None:
    before = len(echo.seen)

    answer = frontend.say(request_bytes)

    assert answer.split(b" ")[1] in {b"400", b"405", b"501"}, answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert len(echo.seen) == before


@pytest.mark.parametrize("protocol", ["h2c", "h2c, websocket", "TLS/1.0", "websocket2"])
def test_an_upgrade_to_anything_but_a_websocket_is_not_passed_on(
    frontend: Frontend, echo: Origin, protocol: str
) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol}

    answer = frontend.ask(HOST, headers={**headers, "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"})

    assert answer.text == "echo"
    assert echo.seen[-1].values("Upgrade") == []
    assert "upgrade" not in echo.seen[-1].value("Connection").lower()


def test_a_service_cannot_steer_the_frontend_from_a_response(
    frontend: Frontend, echo: Origin
) -> None:
    answer = frontend.ask(HOST, "/accel")

    assert (answer.status, answer.text) == (200, "mine")
    assert [seen.target for seen in echo.seen[-1:]] == ["/accel"]


def test_a_request_that_comes_back_in_a_circle_is_refused(frontend: Frontend) -> None:
    with Forwarder(frontend.port) as circle:
        frontend.put("circle", "web", circle.address)

        answer = frontend.ask("circle.localhost", headers={"Accept": "application/json"})

    assert answer.status == 508
    assert answer.json()["status"] == 508
    assert circle.connections == 5


def test_branches_that_call_each_other_are_no_circle(frontend: Frontend, echo: Origin) -> None:
    passed_on = {"CDN-Loop": "cloudflare, branchfront, branchfront"}

    assert frontend.ask(HOST, headers=passed_on).text == "echo"
    assert echo.seen[-1].value("CDN-Loop") == f"{passed_on['CDN-Loop']}, branchfront"


def test_long_headers_pass_both_ways(frontend: Frontend, echo: Origin) -> None:
    cookie = "x" * 15_000

    answer = frontend.ask(HOST, "/large", headers={"Cookie": cookie})

    assert answer.headers["x-large-2"] == "x" * 4000
    assert echo.seen[-1].value("Cookie") == cookie


def test_instances_share_the_requests_and_one_that_refuses_is_passed_over(
    frontend: Frontend,
) -> None:
    with Origin("one") as one, Origin("two") as two, refusing() as nobody:
        frontend.put("shared", "web", one.address, two.address, nobody)
        answers = [frontend.ask("shared.localhost", method="POST", body=b"x") for _ in range(12)]

    assert {answer.text for answer in answers} == {"one", "two"}
    assert {a.headers["x-served-by"] for a in answers} == {one.address, two.address}
    assert len(one.seen) + len(two.seen) == 12


def test_a_post_that_was_sent_is_never_sent_again_and_a_get_is(frontend: Frontend) -> None:
    """Both instances read a request and hang up: nobody knows what they did with it."""
    with Origin("one") as one, Origin("two") as two:
        frontend.put("hanging-up", "web", one.address, two.address)

        posted = frontend.ask("hanging-up.localhost", "/drop", method="POST", body=b"order")
        after_post = len(one.seen) + len(two.seen)
        got = frontend.ask("hanging-up.localhost", "/drop")

    assert (posted.status, after_post) == (502, 1)
    assert got.status == 502
    assert sorted((len(one.seen), len(two.seen))) == [1, 2]


def test_connections_to_a_service_are_kept_but_not_so_long_that_it_closes_them(
    frontend: Frontend,
) -> None:
    """A POST into a connection that the service is just closing would be a 502."""
    with Origin() as origin:
        frontend.put("kept", "web", origin.address)
        for _ in range(5):
            frontend.ask("kept.localhost")
        assert origin.connections == 1

        # services close idle connections after 2 s and more
        origin.wait_until_idle(within_s=1.9)


def test_ipv6_instances_are_reached(frontend: Frontend) -> None:
    with Origin("six", ip="::1") as six:
        frontend.put("six", "web", six.address)

        answer = frontend.ask("six.localhost")

    assert (answer.text, answer.headers["x-served-by"]) == ("six", six.address)
