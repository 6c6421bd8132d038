"""What nginx tells of requests, read from its socket and counted, at 50,000 a second if need be.

One system call takes all that waits. With one for each message, a loop that is busy for 60 ms in
100 (a large page) lost 44 % of 50,000 a second: after every call the reader waits up to 5 ms for
the interpreter, and the kernel keeps some 550 messages where ``net.core.rmem_max`` is as usual.
"""

import ctypes
import errno
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import ClassVar

MESSAGES = 512
"""As many are read at once; about what a usual kernel keeps."""

MESSAGE_BYTES = 128
"""Room for one: 26 of the header, 16 of the tag, 47 of a route's id, and a status."""

STAMP_BYTES = len("<190>Nov 21 19:55:01")
"""What stands before the tag: nginx's facility and level, and the time; both of a fixed length."""

KINDS_MOST = 100_000
"""Kinds of messages between two looks: 10,000 routes with ten statuses each, and bounded."""

MSG_WAITFORONE = 0x10000
"""Linux: wait for the first message, and take what else is there (recvmmsg(2))."""

PAUSE_S = 0.002
"""After all that was there has been read: to be woken for each request alone takes nginx a fifth of
its throughput on two cores. Where the kernel gives least, 277 messages may wait: two milliseconds
of 130,000 requests a second."""


class _Part(ctypes.Structure):
    """``struct iovec``."""

    _fields_: ClassVar = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    """``struct msghdr``."""

    _fields_: ClassVar = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("parts", ctypes.POINTER(_Part)),
        ("parts_len", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_len", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    """``struct mmsghdr``."""

    _fields_: ClassVar = [("header", _Header), ("len", ctypes.c_uint)]


class Requests:
    """Counts messages, each kind by itself, on a thread of its own.

    Shape:
        ``<190>Nov 21 19:55:01 TAG: ROUTE STATUS``; what has another tag is dropped unseen.

    Args:
        link: A UDP socket that nginx was told of.
        tag: What only nginx was told.
        kinds: How many are told apart between two looks.
    """

    def __init__(self, link: socket.socket, *, tag: str, kinds: int = KINDS_MOST) -> None:
        self._link = link
        self._port: int = link.getsockname()[1]
        self._mark = f" {tag}: ".encode()
        self._kinds = kinds
        self._lock = threading.Lock()
        self._counted: dict[bytes, int] = {}
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="requests", daemon=True)

    def start(self) -> None:
        """Begin to count.

        On Linux a thread has a niceness of its own: it keeps the one of whoever starts it.
        """
        self._thread.start()

    def stop(self) -> None:
        """End it and close the socket; what waits by then is not counted."""
        self._is_stopping = True
        # its own socket's address is one that it can always send to: that wakes the reader
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waking:
            waking.sendto(b"", ("127.0.0.1", self._port))
        self._thread.join()
        self._link.close()

    def take(self) -> Mapping[bytes, int]:
        """What came since this was called last: ``ROUTE STATUS``, and how often."""
        with self._lock:
            counted, self._counted = self._counted, {}
        return counted

    def lost(self) -> int:
        """How many messages the kernel has dropped so far, because nobody took them in time."""
        return _drops(self._port)

    def _run(self) -> None:
        receive = ctypes.CDLL(None, use_errno=True).recvmmsg
        content = bytearray(MESSAGES * MESSAGE_BYTES)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(content))
        parts = [_Part(begin + n * MESSAGE_BYTES, MESSAGE_BYTES) for n in range(MESSAGES)]
        headers = [_Header(parts=ctypes.pointer(part), parts_len=1) for part in parts]
        messages = (_Message * MESSAGES)(*[_Message(header=header) for header in headers])
        while not self._is_stopping:
            count = receive(self._link.fileno(), messages, MESSAGES, MSG_WAITFORONE, None)
            if count >= 0:
                read = bytes(memoryview(content)[: count * MESSAGE_BYTES])
                self._count(read, [messages[n].len for n in range(count)])
                if count < MESSAGES:
                    time.sleep(PAUSE_S)
            elif (number := ctypes.get_errno()) not in {0, errno.EINTR}:
                raise OSError(number, os.strerror(number))

    def _count(self, read: bytes, lengths: list[int]) -> None:
        mark, start = self._mark, STAMP_BYTES
        after = start + len(mark)
        with self._lock:
            counted = self._counted
            for begin, length in zip(range(0, len(read), MESSAGE_BYTES), lengths, strict=True):
                if read[begin + start : begin + after] == mark:
                    kind = read[begin + after : begin + length]
                    if kind in counted or len(counted) < self._kinds:
                        counted[kind] = counted.get(kind, 0) + 1


def _drops(port: int) -> int:
    """What Linux tells of one socket, in the last column of its list of them."""
    with open("/proc/net/udp", encoding="ascii") as table:  # noqa: PTH123 - not a path of ours
        for line in table:
            fields = line.split()
            if fields[1] == f"0100007F:{port:04X}":
                return int(fields[-1])
    return 0
