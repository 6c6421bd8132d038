"""Asks an instance whether it accepts connections, when a request to it has just failed. IO."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

from registry.records import Address

ASK_S = 0.5
"""For a connection: within one network 0.1 to 5 ms, and nginx has waited for a second already."""

HANG_UP_S = 0.02
"""For who accepts in place of a service, as Docker does for a published port, to find that nobody
listens behind it: 0.2 to 3 ms were seen."""

REMEMBERED_S = 1.0
"""Many may meet the same trouble in the same second; one of them asks for all."""

AT_ONCE = 8
"""Questions that are open at a time; who comes then is told what is known without one."""


class Verdict(StrEnum):
    """What came of a question."""

    ACCEPTS = "accepts connections"
    REFUSES = "refuses connections"
    HANGS_UP = "hangs up at once"
    SILENT = "does not answer"
    UNKNOWN = "was not asked"


class Asking:
    """Asks each address once a second at most. The event loop's alone."""

    def __init__(self, connect: Callable[[Address], Awaitable[Verdict]] | None = None) -> None:
        self._connect = connect or ask
        self._open: dict[Address, asyncio.Future[Verdict]] = {}
        self._known: dict[Address, tuple[float, Verdict]] = {}

    async def ask(self, address: Address) -> Verdict:
        """Whether an instance accepts connections now, or did a moment ago."""
        now = asyncio.get_running_loop().time()
        self._known = {
            one: known for one, known in self._known.items() if now - known[0] < REMEMBERED_S
        }
        if address in self._known:
            return self._known[address][1]
        if address not in self._open:
            if len(self._open) >= AT_ONCE:
                return Verdict.UNKNOWN
            self._open[address] = asyncio.ensure_future(self._ask(address))
        # who goes away does not take the answer from those that wait for it as well
        return await asyncio.shield(self._open[address])

    async def _ask(self, address: Address) -> Verdict:
        try:
            verdict = await self._connect(address)
            self._known[address] = (asyncio.get_running_loop().time(), verdict)
            return verdict
        finally:
            del self._open[address]


async def ask(address: Address) -> Verdict:
    """Open a connection, see whether it stays, and close it; nothing is said on it."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_connection(address.ip, address.port)
        async with asyncio.timeout(HANG_UP_S):
            # whoever listens waits for a request, and is silent
            is_closed = not await reader.read(1)
    except TimeoutError:
        return Verdict.SILENT if writer is None else Verdict.ACCEPTS
    except ConnectionRefusedError:
        return Verdict.REFUSES
    except ConnectionError:
        return Verdict.HANGS_UP
    except OSError:
        # no way there: nobody would have answered
        return Verdict.SILENT
    finally:
        if writer is not None:
            writer.close()
    return Verdict.HANGS_UP if is_closed else Verdict.ACCEPTS
