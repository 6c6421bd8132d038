"""The API is what its description says: schemathesis asks all that it allows, and what it does not.

The whole frontend is behind it: the installed ``regenerator run``, its nginx and etcd.
"""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from openapi_spec_validator import validate

from registry.keys import FrontendKey, encode
from registry.records import FrontendRecord
from tests.etcd_server import EtcdServer, wait_until
from tests.system.frontend import Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.contract

HOSTILE = '<script>alert("1")</script>/é日本'

CLAIM = '{"version":1,"created":"2026-11-21T09:00:00Z","labels":["stopped-web","stopped"]}'


@pytest.fixture(scope="module", name="frontend")
def _frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    """A frontend with something of each kind."""
    folder = tmp_path_factory.mktemp("api")
    with (
        EtcdServer(folder / "etcd") as etcd,
        Frontend(folder, etcd=etcd) as frontend,
        Origin("one") as origin,
    ):
        frontend.put("feature/login", "web", origin.address)
        frontend.put(HOSTILE, "api", origin.address)
        frontend.write("claims/stopped/web", CLAIM)
        record = {"address": "127.0.0.1:9", "state": "starting", "health": "GET / answered 500"}
        lease = frontend.etcd.grant(600)
        frontend.write("routes/sick/web/one", json.dumps(record), lease=lease.id)
        frontend.write("routes/bad/web/one", "nonsense")
        frontend.write(f"routes/{encode(HOSTILE)}/bad", "169.254.169.254:80")
        other = FrontendRecord(revision=1, state="stuck", rejections=({"key": "k", "reason": "r"},))
        for name, value in (("other", other.dump()), ("broken", b"nonsense")):
            frontend.etcd.write(frontend.keys.raw(FrontendKey(name)), value)

        def is_shown() -> bool:
            shown = [
                frontend.ask("localhost", f"/api/v1/{of}").body for of in ("branches", "frontends")
            ]
            return b"stopped" in shown[0] and b"broken" in shown[1]

        wait_until(is_shown)
        yield frontend


DESCRIPTION = files("regenerator.dashboard.web") / "openapi.json"

# events have no end; tests/system/test_api.py reads them
SCHEMA = schemathesis.openapi.from_path(str(DESCRIPTION)).exclude(path="/api/v1/events")


def test_the_description_is_openapi(frontend: Frontend) -> None:
    found = frontend.ask("localhost", "/api/v1/openapi.json").json()

    validate(found)
    assert found == json.loads(DESCRIPTION.read_text())


@SCHEMA.parametrize()
@settings(max_examples=25)
def test_every_question_is_answered_as_described(
    case: schemathesis.Case[Any], frontend: Frontend
) -> None:
    case.call_and_validate(base_url=frontend.url)
