"""What ``--probe`` says to a frontend that is closed by a password."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from registry.settings import Problems, first_line, option, secret

Command = TypeVar("Command", bound=Callable[..., object])

LOGIN = "PROBE_LOGIN"
"""The variable; it opens every branch of a closed frontend, so COMMAND does not get it."""


def login_options(command: Command) -> Command:
    """Give a click command the settings of who asks through a closed frontend."""
    options = (
        secret("--probe-login"),
        option("--probe-login-file", "file: user:password for --probe, on its first line"),
    )
    for add in reversed(options):
        command = add(command)
    return command


def read_login(given: Mapping[str, str], problems: Problems) -> str:
    """Judge them, as ``user:password``; problems are noted, not raised. Empty if there is none."""
    login, path = given["probe_login"], given["probe_login_file"]
    if login and path:
        problems.note(f"{LOGIN} and {LOGIN}_FILE are both set; set one of them")
    elif path:
        return problems.read(f"{LOGIN}_FILE", path, _read_file, "")
    elif login:
        try:
            return _parse_login(login)
        except ValueError as exc:
            # the text is not repeated: it has a password in it
            problems.note(f"{LOGIN} cannot be used: {exc}")
    return ""


def _parse_login(text: str) -> str:
    user, colon, _ = text.partition(":")
    if not (user and colon and text.isprintable()):
        raise ValueError("expected user:password, on one line")
    return text


def _read_file(path: str) -> str:
    return _parse_login(first_line(path))
