"""What has to live through other people's changes: a WebSocket and a download."""

import http.client
import socket
import threading
from types import TracebackType
from typing import Self

import websocket

from tests.system.frontend import Frontend
from tests.torture.origin import DOWNLOAD_BYTES

TALK_S = 0.25
"""Between two messages."""

SLACK_S = 30.0
"""For a download's end, beyond the time that it takes by itself."""


class Talk:
    """A WebSocket that talks all the time while it is entered.

    Attributes:
        said: Messages that came back.
        fault: What ended it, in words.
    """

    def __init__(self, frontend: Frontend, host: str) -> None:
        self.said = 0
        self.fault = ""
        link = socket.create_connection(("127.0.0.1", frontend.port), timeout=10.0)
        self._socket = websocket.create_connection(f"ws://{host}/socket", socket=link)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._over.wait(TALK_S):
            message = f"message {self.said}"
            try:
                self._socket.send(message)
                heard = self._socket.recv()
            except (OSError, websocket.WebSocketException) as exc:
                self.fault = repr(exc)
                return
            if heard != message:
                self.fault = f"{message!r} came back as {heard!r}"
                return
            self.said += 1


class Download:
    """A long download, from its entering on.

    Attributes:
        fault: What is wrong with it, in words; to be asked behind the ``with``.
    """

    def __init__(self, frontend: Frontend, host: str, *, for_s: int) -> None:
        self.fault = "not ended"
        self._frontend = frontend
        self._host = host
        self._for_s = for_s
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.join(self._for_s + SLACK_S)

    def _run(self) -> None:
        wanted = self._for_s * DOWNLOAD_BYTES
        try:
            found = len(self._frontend.ask(self._host, f"/download/{self._for_s}").body)
        except (OSError, http.client.HTTPException) as exc:
            self.fault = repr(exc)
        else:
            self.fault = "" if found == wanted else f"{found:,} of {wanted:,} bytes"
