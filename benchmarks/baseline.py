"""What a person would write by hand for one service: nginx, one upstream, the same access log.

The log's format and its buffer are taken from the configuration that our frontend serves, so that
both sides write the same lines; values that only our configuration has are filled by constants.
The service gets the forwarded headers that people write by hand, so that it has as much to read.
"""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.origin import user_line
from benchmarks.processes import BenchmarkFault, Child, answers, find_program, free_port, until

CONFIG = """\
daemon off;
pid baseline.pid;
error_log baseline.log warn;
worker_processes {workers};
worker_rlimit_nofile 20000;
{user}
events {{ worker_connections 4096; }}
http {{
    {log_format}
    access_log {folder}/access.log {log_options};
    keepalive_requests 1000000;
{constants}
    upstream service {{
        server {address};
        keepalive 32;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-Id $request_id;
            proxy_pass http://service;
        }}
    }}
}}
"""

_LOG_FORMAT = re.compile(r"^\s*(log_format\s+(\w+)\s+(?:'(?:[^'\\]|\\.)*'|[^;'])*;)", re.MULTILINE)
_ACCESS_LOG = re.compile(r"^\s*access_log[ \t]+([^\s;]+)[ \t]+(\w+[^;]*);", re.MULTILINE)
_WORKERS = re.compile(r"^\s*worker_processes\s+(\w+);", re.MULTILINE)
_UNKNOWN = re.compile(r'unknown "(\w+)" variable')

# More variables of our own than a log line will ever have.
CONSTANTS_MAX = 20


@contextlib.contextmanager
def serve_baseline(folder: Path, *, address: str, ours: str) -> Iterator[int]:
    """Run it; yields the port.

    Args:
        address: Of the one service.
        ours: The configuration of our frontend, as ``nginx -T`` prints it.
    """
    folder.mkdir(parents=True)
    port = free_port()
    config = folder / "baseline.conf"
    write_config(config, address=address, port=port, ours=ours)
    command: list[str | Path] = [
        find_program("nginx"),
        "-p",
        folder,
        "-c",
        config,
        "-e",
        folder / "baseline.log",
    ]
    with Child(command, log=folder / "baseline.out") as child:
        until(lambda: answers(port), what="the baseline answers", within_s=10, child=child)
        yield port


def write_config(config: Path, *, address: str, port: int, ours: str) -> None:
    """Write the configuration; variables that nginx does not know become constants."""
    log = _ACCESS_LOG.search(ours)
    workers = _WORKERS.search(ours)
    formats = {found[2]: found[1] for found in _LOG_FORMAT.finditer(ours)}
    if log is None or workers is None or log[2].split()[0] not in formats:
        raise BenchmarkFault("the frontend's configuration has no access_log with a log_format")
    constants: list[str] = []
    for _ in range(CONSTANTS_MAX):
        config.write_text(
            CONFIG.format(
                workers=workers[1],
                user=user_line(),
                folder=config.parent,
                log_format=formats[log[2].split()[0]],
                log_options=log[2],
                constants="\n".join(
                    f'    map "" ${name} {{ default "{"x" * 12}"; }}' for name in constants
                ),
                address=address,
                port=port,
            )
        )
        done = subprocess.run(
            [find_program("nginx"), "-t", "-p", config.parent, "-c", config, "-e", "stderr"],
            capture_output=True,
            text=True,
            timeout=10,  # ten lines take nginx a few milliseconds
            check=False,
        )
        unknown = _UNKNOWN.search(done.stderr)
        if done.returncode == 0:
            return
        if unknown is None:
            raise BenchmarkFault(f"nginx refused the hand-written configuration: {done.stderr}")
        constants.append(unknown[1])
    raise BenchmarkFault("the log format has more unknown variables than any sensible one")
