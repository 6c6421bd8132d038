"""Included: AUTH_URL, with a stand-in for oauth2-proxy; who is let in, and whose cookies go where.

Excluded: oauth2-proxy itself, which is in no registry that tests reach.
"""

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.fakes.sign_in_proxy import PROVIDER, SignInProxy, refused_port
from tests.system.frontend import Answer, Frontend, exchange
from tests.system.origin import Origin

pytestmark = pytest.mark.system

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

LIES = {
    "X-Auth-Request-User": "root",
    "X-Auth-Request-Email": "root@example.com",
    "X-Auth-Request-Redirect": "https://evil.example/",
    "X-Forwarded-Email": "root@example.com",
    "X-Forwarded-User": "root",
    "X-Forwarded-Access-Token": "stolen",
}


@pytest.fixture(scope="module", name="proxy")
def _proxy() -> Iterator[SignInProxy]:
    with SignInProxy(domain="localhost") as proxy:
        yield proxy


@pytest.fixture(scope="module", name="closed")
def _closed(start_frontend: Callable[..., Frontend], proxy: SignInProxy) -> Frontend:
    """Everything closed."""
    frontend = start_frontend(AUTH_URL=proxy.url, PROTECT="all", RELOAD_PAUSE="0")
    proxy.whitelist = f".localhost:{frontend.port}"
    return frontend


@pytest.fixture(scope="module", name="page")
def _page(start_frontend: Callable[..., Frontend], proxy: SignInProxy) -> Frontend:
    """The page closed, branches open."""
    return start_frontend(AUTH_URL=proxy.url)


@pytest.fixture(autouse=True)
def _fresh(proxy: SignInProxy) -> None:
    proxy.asked.clear()
    proxy.renewed, proxy.status = (), 202


def signed_in(proxy: SignInProxy, **more: str) -> dict[str, str]:
    return {"Cookie": f"{proxy.cookie}={proxy.sign_in()}", **more}


def redirect_in(answer: Answer) -> str:
    """Where the browser is to come back to, as the sign-in proxy told the provider."""
    assert answer.status == 302, answer
    assert answer.headers["location"].startswith(PROVIDER)
    state = parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]
    return state.partition(":")[2]


@pytest.mark.parametrize(
    "path", ["/", "/a/b?x=1&y=2%26z", "/%2F%20?rd=https://evil.example/&a=#x", "//evil.example/"]
)
@pytest.mark.parametrize("host", ["localhost", "mine.localhost", "unknown.localhost"])
def test_a_browser_is_sent_to_sign_in_and_comes_back_to_the_very_url(
    closed: Frontend, host: str, path: str
) -> None:
    answer = closed.ask(host, path, headers=BROWSER)

    assert redirect_in(answer) == f"http://{host}:{closed.port}{path}"
    assert answer.headers["cache-control"] == "no-store"
    assert "_csrf=" in answer.headers["set-cookie"]


def test_the_whole_way_in_and_out(closed: Frontend) -> None:
    with Origin("mine") as mine:
        closed.put("mine", "web", mine.address)
        start = closed.ask("mine.localhost", "/deep?a=1&b=2", headers=BROWSER)
        csrf = start.headers["set-cookie"].partition(";")[0]
        state = parse_qs(urlsplit(start.headers["location"]).query)["state"][0]
        callback = closed.ask(
            "localhost", f"/oauth2/callback?code=1&state={state}", headers={"Cookie": csrf}
        )
        session = callback.headers["set-cookie"].partition(";")[0]
        there = closed.ask("mine.localhost", "/deep", headers={"Cookie": session})
        out = closed.ask("localhost", "/oauth2/sign_out", headers={"Cookie": session})
        forged = closed.ask("localhost", f"/oauth2/callback?code=1&state={state}")

    # `&` would end the state in this very query; a provider escapes it
    assert callback.headers["location"] == f"http://mine.localhost:{closed.port}/deep?a=1"
    assert (there.status, there.text) == (200, "mine")
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert forged.status == 403


@pytest.mark.parametrize(
    ("method", "accept"),
    [("GET", "application/json"), ("GET", "*/*"), ("POST", "text/html"), ("HEAD", "text/html")],
)
@pytest.mark.parametrize("host", ["localhost", "mine.localhost", "unknown.localhost"])
def test_a_program_is_told_so(closed: Frontend, host: str, method: str, accept: str) -> None:
    body = b"x" * 100_000 if method == "POST" and host != "localhost" else None

    answer = closed.ask(host, method=method, headers={"Accept": accept}, body=body)

    assert answer.status == 401
    assert "location" not in answer.headers
    if accept == "application/json":
        problem = answer.json()
        assert (problem["status"], problem["branch"], problem["service"]) == (401, "", "")


def test_who_is_signed_in_gets_what_there_is(closed: Frontend, proxy: SignInProxy) -> None:
    with Origin("mine") as mine:
        closed.put("mine", "web", mine.address)
        headers = signed_in(proxy, **BROWSER)

        statuses = {
            host: closed.ask(f"{host}localhost", headers=headers).status
            for host in ("", "mine.", "unknown.")
        }

    assert statuses == {"": 200, "mine.": 200, "unknown.": 404}


def test_who_belongs_to_another_group_gets_403(closed: Frontend, proxy: SignInProxy) -> None:
    proxy.status = 403

    answer = closed.ask("localhost", headers=signed_in(proxy, **BROWSER))

    assert answer.status == 403
    assert '<p class="status">403</p>' in answer.text


def test_an_upload_is_not_sent_to_the_sign_in_proxy(closed: Frontend, proxy: SignInProxy) -> None:
    with Origin("taken") as origin:
        closed.put("taken", "web", origin.address)

        answer = closed.ask(
            "taken.localhost",
            "/upload",
            method="POST",
            headers=signed_in(proxy),
            body=b"x" * 300_000,
        )

    assert answer.json() == {"received": 300_000}
    assert [(one.target, one.body_bytes) for one in proxy.asked] == [("/oauth2/auth", 0)]


def test_what_a_client_says_of_itself_counts_nowhere(closed: Frontend, proxy: SignInProxy) -> None:
    with Origin("told") as origin:
        closed.put("told", "web", origin.address)
        closed.ask("told.localhost", headers={**signed_in(proxy), **LIES})
        stranger = closed.ask("told.localhost", "/back", headers={**BROWSER, **LIES})

    for seen in (
        *(dict(one.headers) for one in origin.seen),
        *(one.headers for one in proxy.asked),
    ):
        assert not set(LIES.values()) & set(seen.values()), seen
    assert len(origin.seen) == 1
    assert redirect_in(stranger) == f"http://told.localhost:{closed.port}/back"


def test_streams_need_a_session_too(closed: Frontend, proxy: SignInProxy) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "upgrade", "Sec-WebSocket-Key": "x" * 24}
    with Origin("streams") as origin:
        closed.put("streams", "web", origin.address)

        refused = closed.ask("streams.localhost", "/socket", headers=upgrade)
        events = closed.ask("streams.localhost", headers={"Accept": "text/event-stream"})
        served = closed.ask(
            "streams.localhost", headers=signed_in(proxy, Accept="text/event-stream")
        )

    assert (refused.status, events.status, served.status) == (401, 401, 200)
    assert len(origin.seen) == 1


def test_nobody_can_ask_the_inner_question(closed: Frontend, proxy: SignInProxy) -> None:
    with Origin("inner") as origin:
        closed.put("inner", "web", origin.address)
        for host in ("localhost", "inner.localhost", "unknown.localhost"):
            answer = closed.ask(host, "/.branchfront/auth", headers=signed_in(proxy))
            assert answer.status == 404
            assert closed.ask(host, "/.branchfront/auth").status == 401

    assert origin.seen == []


def test_a_late_request_is_judged_once_and_by_the_new_worker(
    closed: Frontend, proxy: SignInProxy
) -> None:
    with Origin("old") as old, Origin("new") as new:
        closed.put("late", "web", old.address)
        host, who = closed.named("late.localhost"), signed_in(proxy)
        closed.wait_until_settled()
        with closed.connect() as known, closed.connect() as stranger:
            assert exchange(known, host, headers=who).text == "old"
            assert exchange(stranger, host, headers=who).text == "old"
            closed.put("late", "web", new.address)
            proxy.asked.clear()

            answer = exchange(known, host, headers=who)
            judged = [one.target for one in proxy.asked]
            refused = exchange(stranger, host, headers=BROWSER)

    assert answer.text == "new"
    assert judged == ["/oauth2/auth"]
    assert redirect_in(refused) == f"http://{host}/"
    assert len(new.seen) == 1


def test_where_the_sign_in_proxy_is_away_nobody_is_let_in(
    start_frontend: Callable[..., Frontend],
) -> None:
    frontend = start_frontend(AUTH_URL=f"http://127.0.0.1:{refused_port()}", PROTECT="all")
    with Origin("mine") as mine:
        frontend.put("mine", "web", mine.address)

        answers = [
            frontend.ask(host, headers={**BROWSER, "Cookie": "_oauth2_proxy=x"})
            for host in ("localhost", "mine.localhost", "unknown.localhost")
        ]
        health = frontend.ask("localhost", "/healthz")

    assert [answer.status for answer in answers] == [500, 500, 500]
    assert all('<p class="status">500</p>' in answer.text for answer in answers)
    assert mine.seen == []
    assert health.status == 200


OURS = "_oauth2_proxy=s3cret"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a=1; b=2", "a=1; b=2"),
        (f"{OURS}", None),
        (f"{OURS}; a=1", "a=1"),
        (f"a=1; {OURS}", "a=1"),
        (f"a=1; {OURS}; b=2", "a=1; b=2"),
        (f"a=1;{OURS};b=2", "a=1;b=2"),
        (f"{OURS}; _oauth2_proxy_csrf=x; a=1", "a=1"),
        ("_oauth2_proxy_0=x; _oauth2_proxy_1=y; a=1; _oauth2_proxy_2=z", "a=1"),
        ("__Host-_oauth2_proxy=x; a=1; __Secure-_oauth2_proxy_0=y", "a=1"),
        ("__HOST-_oauth2_proxy=x; a=1", "a=1"),
        (f"a=1; {OURS}; b=2; {OURS}; c=3; {OURS}; d=4; {OURS}; e=5", "a=1; b=2; c=3; d=4; e=5"),
        # six stretches of others are too many: rather none than ours
        (f"a=1; {OURS}; b=2; {OURS}; c=3; {OURS}; d=4; {OURS}; e=5; {OURS}; f=6", None),
        (f"a=1;\t{OURS}", "a=1"),
        ("a=_oauth2_proxy=x; b=__Host-_oauth2_proxy", "a=_oauth2_proxy=x; b=__Host-_oauth2_proxy"),
        ('a="x y"; b=%3D%3B; c==; d', 'a="x y"; b=%3D%3B; c==; d'),
        ("my_oauth2_proxy=1", "my_oauth2_proxy=1"),
        ("_oauth2_prox=1", "_oauth2_prox=1"),
        ("; ; a=1", "; ; a=1"),
        ("_oauth2_proxy", None),
        ("; ".join(f"c{number}=1" for number in range(1500)), "same"),
        ("; ".join(["x"] * 5000), "same"),
        (";" * 15000, "same"),
        ("a=1; _oauth2_proxy=" + "x" * 15000 + "; b=2", "a=1; b=2"),
    ],
)
def test_a_service_gets_all_cookies_but_ours(page: Frontend, sent: str, kept: str | None) -> None:
    with Origin("cookies") as origin:
        page.put("cookies", "web", origin.address)

        answers = [
            page.ask("cookies.localhost", headers={"Cookie": sent, **more}).status
            for more in ({}, {"Accept": "text/event-stream"})
        ]

    expected = [] if kept is None else [sent if kept == "same" else kept]
    assert answers == [200, 200]
    assert [one.values("Cookie") for one in origin.seen] == [expected, expected]


def test_a_long_session_is_renewed_whole(closed: Frontend, proxy: SignInProxy) -> None:
    proxy.renewed = tuple(
        proxy.set_cookie(f"_oauth2_proxy_{number}", f"{number}" * 3000) for number in range(3)
    )
    with Origin("renewed") as origin:
        closed.put("renewed", "web", origin.address)
        found = [
            set_cookies(closed, host, signed_in(proxy, **BROWSER))
            for host in ("localhost", "renewed.localhost", "unknown.localhost")
        ]

    assert found == [list(proxy.renewed)] * 3


def test_one_cookie_is_renewed_and_a_service_sets_its_own(
    closed: Frontend, proxy: SignInProxy
) -> None:
    proxy.renewed = (proxy.set_cookie("_oauth2_proxy", "renewed"),)
    own = "own=1; Path=/"
    with Origin("both", headers={"Set-Cookie": own}) as origin:
        closed.put("both", "web", origin.address)
        found = set_cookies(closed, "both.localhost", signed_in(proxy))

    assert sorted(found) == sorted([own, *proxy.renewed])


def set_cookies(frontend: Frontend, host: str, headers: Mapping[str, str]) -> list[str]:
    """Every ``Set-Cookie`` line of an answer."""
    with frontend.connect() as link:
        link.putrequest("GET", "/", skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": frontend.named(host), **headers}.items():
            link.putheader(name, value)
        link.endheaders()
        response = link.getresponse()
        response.read()
        return response.headers.get_all("Set-Cookie") or []


@pytest.mark.parametrize("name", ["_oauth2_proxy", "__Host-_oauth2_proxy", "_oauth2_proxy_csrf"])
def test_no_browser_takes_our_cookie_from_a_service(page: Frontend, name: str) -> None:
    """SameSite=None without Secure is refused, and a prefix without Secure as well."""
    told = f"{name}=evil; Path=/; Domain=localhost; Secure; HttpOnly"
    with Origin("evil", headers={"Set-Cookie": told}) as origin:
        page.put("evil", "web", origin.address)

        [found] = set_cookies(page, "evil.localhost", {})

    attributes = {one.strip().lower() for one in found.split(";")[1:]}
    assert "secure" not in attributes
    assert "samesite=none" in attributes
    assert "domain=evil.localhost" in attributes


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("a=1; Domain=localhost; Path=/", "a=1; Domain={host}; Path=/"),
        ("a=1; domain=.localhost", "a=1; domain={host}"),
        ("a=1; Path=/; Domain=other.example; Secure", "a=1; Path=/; Domain={host}; Secure"),
        ("a=Domain=localhost; Path=/", "a=Domain=localhost; Path=/"),
        ("a=1; Path=/; HttpOnly; SameSite=Lax", "a=1; Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_a_branchs_cookies_are_for_its_own_host(frontend: Frontend, told: str, kept: str) -> None:
    with Origin("domain", headers={"Set-Cookie": told}) as origin:
        frontend.put("own-cookies", "web", origin.address)

        [found] = set_cookies(frontend, "own-cookies.localhost", {})

    assert found == kept.format(host="own-cookies.localhost")


def test_cookies_may_be_shared(start_frontend: Callable[..., Frontend]) -> None:
    frontend = start_frontend(COOKIE_DOMAIN="share")
    told = "a=1; Domain=localhost; Path=/"
    with Origin("shared", headers={"Set-Cookie": told}) as origin:
        frontend.put("shared", "web", origin.address)

        assert set_cookies(frontend, "shared.localhost", {}) == [told]


def test_only_the_page_is_closed_unless_asked(page: Frontend, proxy: SignInProxy) -> None:
    with Origin("open") as origin:
        page.put("open", "web", origin.address)

        assert page.ask("open.localhost", "/oauth2/sign_in", headers=BROWSER).text == "open"
        assert proxy.asked == []
        answer = page.ask("localhost", "/", headers=BROWSER)

    assert answer.status == 302
