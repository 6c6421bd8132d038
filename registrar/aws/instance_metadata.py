"""EC2 instance metadata, by version 2 of its service alone.

A token first, with PUT, then everything else with it. Version 1 is never asked, nor is a proxy:
either would hand the instance's secrets to who can make a server fetch a URL.

Source:
    Amazon EC2 User Guide, "Use the Instance Metadata Service to access instance metadata".
"""

import ipaddress
import threading
import time
from collections.abc import Callable

from registrar.aws.endpoint import Base, Endpoint, Silence
from registrar.aws.ration import Ration
from registrar.exchange import Response
from registry.faults import MetadataUnavailable

DEFAULT_ENDPOINT = "http://169.254.169.254"

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path

TOKEN_S = 21600
"""The longest that EC2 gives: a token costs a request, and is worth nothing elsewhere."""

LOCAL_IPV4 = "local-ipv4"

BURST, RATE = 8, 0.5
"""EC2 does not tell its limit; a start takes two requests, and a watch for notices one in 5 s."""

OK, UNAUTHORIZED, FORBIDDEN, NOT_THERE = 200, 401, 403, 404

FAILS = frozenset({429, *range(500, 600)})
"""How EC2 says that it is asked too often, or cannot answer now."""

HOP_LIMIT = (
    "the hop limit of this instance may be 1, and an answer needs 2 to get into a container: set"
    " HttpPutResponseHopLimit to 2 in the launch template"
)


class InstanceMetadata:
    """Asks the instance that we run on; threads may share it."""

    def __init__(
        self,
        base: Base,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Asks nothing yet."""
        self._endpoint = Endpoint(base, Ration(burst=BURST, rate=RATE), clock=clock, sleep=sleep)
        self._token = ""
        self._ip = ""
        self._turn = threading.Lock()

    @property
    def url(self) -> str:
        """Of the service."""
        return str(self._endpoint.base)

    def local_ip(self) -> str:
        """The instance's own address within its VPC; it has one for life, so it is asked once.

        Raises:
            MetadataUnavailable: It is not told.
        """
        if not self._ip:
            text = self.read(LOCAL_IPV4) or ""
            try:
                self._ip = str(ipaddress.IPv4Address(text))
            except ValueError:
                said = f"{self.url} gave {text[:40]!r} as the instance's ip"
                raise MetadataUnavailable(said) from None
        return self._ip

    def read(self, path: str) -> str | None:
        """One value below ``meta-data``; None where the instance has none.

        Raises:
            MetadataUnavailable: It is not told; says what is to be done.
        """
        with self._turn:
            response = self._read(path)
            if response.status == UNAUTHORIZED:
                # the token has ended, or the instance was stopped and started
                self._token = ""
                response = self._read(path)
        if response.status == NOT_THERE:
            return None
        if response.status != OK:
            raise self._explain(f"GET {self.url}/latest/meta-data/{path}", response.status)
        return response.body.decode("ascii", "replace").strip()

    def _read(self, path: str) -> Response:
        if not self._token:
            self._token = self._fetch_token()
        return self._endpoint.ask(
            f"/latest/meta-data/{path}", headers={"X-aws-ec2-metadata-token": self._token}
        )

    def _fetch_token(self) -> str:
        try:
            response = self._endpoint.ask(
                TOKEN_PATH,
                method="PUT",
                headers={
                    "X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S),
                    "Content-Length": "0",
                },
            )
        except Silence as fault:
            raise MetadataUnavailable(f"{fault}; {HOP_LIMIT}", may_pass=True) from None
        token = response.body.decode("ascii", "replace").strip()
        if response.status != OK:
            raise self._explain(f"PUT {self.url}{TOKEN_PATH}", response.status)
        if not token.isprintable() or not token.isascii() or not token:
            raise MetadataUnavailable(f"PUT {self.url}{TOKEN_PATH} gave no token")
        return token

    @staticmethod
    def _explain(asked: str, status: int) -> MetadataUnavailable:
        if status == FORBIDDEN:
            text = "metadata is turned off for this instance (HttpEndpoint), or refused to us"
            return MetadataUnavailable(f"{asked} answered 403: {text}")
        if status == UNAUTHORIZED:
            text = f"{asked} answered 401 to a token that it had just given"
            return MetadataUnavailable(text, may_pass=True)
        if status in FAILS:
            text = f"{asked} answered {status}: asked too often by all of this instance, or failing"
            return MetadataUnavailable(text, may_pass=True)
        text = "what answers there is no EC2 metadata of version 2"
        return MetadataUnavailable(f"{asked} answered {status}: {text}")
