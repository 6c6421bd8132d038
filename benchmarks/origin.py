"""The services behind the routes: one nginx on many loopback addresses, each saying which it is."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Child, answers, find_program, free_port, until

# Sockets that listen, and up to 32 kept connections for each of the 500 upstream blocks.
CONNECTIONS = 20000

CONFIG = """\
daemon off;
pid origin.pid;
error_log origin.log warn;
worker_processes 1;
worker_rlimit_nofile {connections};
{user}
events {{ worker_connections {connections}; multi_accept on; }}
http {{
    access_log off;
    keepalive_timeout 75s;
    keepalive_requests 1000000;
    default_type text/plain;
    server {{
{listeners}
        location / {{ return 200 "$server_addr:$server_port\\n"; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Services that answer 200 with their own address.

    Attributes:
        addresses: ``ip:port`` of each.
    """

    addresses: tuple[str, ...]


@contextlib.contextmanager
def serve_origin(folder: Path, *, count: int) -> Iterator[Origin]:
    """Run services on as many loopback addresses, all on one port.

    The addresses differ because the registry gives one address to one branch, and because one
    destination alone would run out of ephemeral ports where every request has a new connection.
    """
    folder.mkdir(parents=True)
    port = free_port()
    ips = [f"127.0.{1 + at // 250}.{1 + at % 250}" for at in range(count)]
    config = folder / "origin.conf"
    config.write_text(
        CONFIG.format(
            connections=CONNECTIONS,
            user=user_line(),
            listeners="\n".join(f"        listen {ip}:{port};" for ip in ips),
        )
    )
    command: list[str | Path] = [
        find_program("nginx"),
        "-p",
        folder,
        "-c",
        config,
        "-e",
        folder / "origin.log",
    ]
    with Child(command, log=folder / "origin.out") as child:
        until(
            lambda: answers(port, host=ips[-1]),
            what="the services answer",
            within_s=20,
            child=child,
        )
        yield Origin(tuple(f"{ip}:{port}" for ip in ips))


def user_line() -> str:
    """As root nginx's workers would become nobody, who may not read our temporary folders."""
    return "user root;" if os.geteuid() == 0 else ""
