"""One line a unit of work, on stderr: text on a terminal, JSON lines elsewhere."""

import json
import logging
import sys
import time
from typing import Any

import click

from registry.terminal import escaped

FORMATS = ("auto", "text", "json")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


class _Json(logging.Formatter):
    """``{"at":…,"level":…,"program":…,"message":…}`` and whatever the line was given besides."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "program": record.name,
            "message": record.getMessage(),
        }
        fields |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class _Text(logging.Formatter):
    """``09:00:00.123 registrar: message``; a line never becomes two."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._colours = _COLOURS if coloured else {}

    def format(self, record: logging.LogRecord) -> str:
        # text from etcd or a request may be in it, and must not steer a terminal
        line = f"{_at(record)[11:23]} {record.name}: {escaped(record.getMessage())}"
        colour = self._colours.get(record.levelname)
        line = click.style(line, fg=colour) if colour else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(log_format: str) -> None:
    """Send all lines to stderr.

    Args:
        log_format: One of ``FORMATS``; ``auto`` is text on a terminal, else JSON.
    """
    on_terminal = sys.stderr.isatty()
    text = log_format == "text" or (log_format == "auto" and on_terminal)
    handler = logging.StreamHandler(sys.stderr)
    formatter = _Text(coloured=on_terminal) if text else _Json()
    handler.setFormatter(formatter)
    # a reader of stderr that has gone away is no reason to stop working
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # they log every connection that breaks; our own lines say what it means
    for name in ("urllib3", "requests", "watchdog"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def name_services() -> None:
    """Begin each line that tells of a service with its name; for who looks after many of them."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_name_service)


def _name_service(record: logging.LogRecord) -> bool:
    branch, service = getattr(record, "branch", ""), getattr(record, "service", "")
    if branch:
        record.msg, record.args = f"{branch} {service}: {record.getMessage()}", ()
    return True


log_format_option = click.option(
    "--log-format",
    envvar="LOG_FORMAT",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    show_envvar=True,
    help="auto: text on a terminal, else JSON lines",
)


def _at(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"
