"""Settings that both programs share, and how any setting is read: a flag, else its variable.

A program's click command is the one list of its settings. Values come in as text and are judged
together, so that one run names every bad one; none is replaced by a default in silence.
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import click

from registry.etcd import EtcdSettings
from registry.faults import SettingsInvalid
from registry.keys import Keyspace
from registry.names import service_slug

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----")

ETCD_PORT = 2379
"""Where etcd listens unless told otherwise (registered with IANA)."""


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Which registry, and how to speak to it.

    Attributes:
        etcd: None where no ``REGISTRY_URL`` was given.
        default_service: The service that has the short label; a frontend's record overrules it.
    """

    etcd: EtcdSettings | None
    keys: Keyspace
    default_service: str


@dataclass(slots=True)
class Problems:
    """Collects what is wrong with the settings until all have been looked at."""

    found: list[str] = field(default_factory=list)

    def read(  # noqa: PLR0917 - four words that every program's settings read in this order
        self, name: str, text: str, parse: Callable[[str], T], default: T
    ) -> T:
        """Parse one setting; on ``ValueError`` note the problem and go on with the default."""
        try:
            return parse(text)
        except ValueError as exc:
            self.found.append(f"{name} is {text!r}: {exc}")
            return default

    def note(self, problem: str) -> None:
        """Note a problem that is not one value's alone."""
        self.found.append(problem)

    def settle(self) -> None:
        """End the reading.

        Raises:
            SettingsInvalid: Something was noted; carries all of it.
        """
        if self.found:
            raise SettingsInvalid(self.found)


def registry_options(command: Command) -> Command:
    """Give a click command the flags of every program that speaks to the registry."""
    options = (
        option("--registry-url", "etcd endpoints, comma-separated; http://user:password@host:port"),
        option("--registry-prefix", "what every key begins with", default="/branchfront"),
        option("--registry-ca", "file: certificates of who signs etcd's (PEM)"),
        option("--registry-ca-text", "the same, as text in place of a file"),
        option("--registry-cert", "file: our client certificate (PEM)"),
        option("--registry-key", "file: the client certificate's key (PEM)"),
        option("--registry-user", "etcd user"),
        secret("--registry-password"),
        option("--registry-password-file", "file: the etcd user's password, on its first line"),
        option("--default-service", "the service that the short host name leads to", default="web"),
    )
    for add in reversed(options):
        command = add(command)
    return command


def option(flag: str, text: str, *, default: str = "") -> Callable[[Command], Command]:
    """A flag whose variable has the same name; the value stays text until it is judged."""
    return click.option(
        flag,
        envvar=flag.removeprefix("--").replace("-", "_").upper(),
        default=default,
        show_default=bool(default),
        show_envvar=True,
        help=text,
    )


def secret(flag: str) -> Callable[[Command], Command]:
    """A setting that is a variable only: a flag would show it to everybody on the machine."""
    return click.option(
        flag,
        envvar=flag.removeprefix("--").replace("-", "_").upper(),
        default="",
        hidden=True,
        expose_value=True,
        callback=_refuse_flag,
    )


def read_registry(given: Mapping[str, str], problems: Problems) -> RegistrySettings:
    """Judge the settings that ``registry_options`` added; problems are noted, not raised."""
    prefix = given["registry_prefix"]
    keys = problems.read("REGISTRY_PREFIX", prefix, Keyspace, Keyspace())
    default_service = given["default_service"]
    problems.read("DEFAULT_SERVICE", default_service, service_slug, "")
    return RegistrySettings(_read_etcd(given, problems), keys, default_service)


def needed_etcd(registry: RegistrySettings, problems: Problems) -> EtcdSettings:
    """Where etcd is, for who can do nothing without; where nobody says so, that is noted."""
    if registry.etcd is None:
        problems.note("REGISTRY_URL is not set; it says where etcd is, such as http://etcd:2379")
    return registry.etcd or EtcdSettings(())


def _read_etcd(given: Mapping[str, str], problems: Problems) -> EtcdSettings | None:
    named = given["registry_password_file"]
    password = given["registry_password"]
    if named and password:
        problems.note("REGISTRY_PASSWORD and REGISTRY_PASSWORD_FILE are both set; set one of them")
    elif named:
        password = problems.read("REGISTRY_PASSWORD_FILE", named, first_line, "")
    files = _read_files(given, problems)
    if not given["registry_url"]:
        return None
    endpoints, logins = _read_urls(given["registry_url"], problems)
    if given["registry_user"] or password:
        logins.add((given["registry_user"], password))
    if len(logins) > 1:
        problems.note("user and password are given twice, and differ; give them once")
    user, password = logins.pop() if logins else ("", "")
    if password and not user:
        problems.note("REGISTRY_PASSWORD is set without REGISTRY_USER")
    return EtcdSettings(
        endpoints,
        user=user,
        password=password,
        ca=files["ca"],
        cert=files["cert"],
        key=files["key"],
    )


def _read_files(given: Mapping[str, str], problems: Problems) -> dict[str, str]:
    """The files with certificates and the key; the one that signs may come as text."""
    files = {name: given[f"registry_{name}"] for name in ("ca", "cert", "key")}
    for name, path in files.items():
        if path:
            problems.read(f"REGISTRY_{name.upper()}", path, _readable, b"")
    if bool(files["cert"]) != bool(files["key"]):
        problems.note("REGISTRY_CERT and REGISTRY_KEY go together; one of them is not set")
    text = given["registry_ca_text"]
    if text and files["ca"]:
        problems.note("REGISTRY_CA and REGISTRY_CA_TEXT are both set; set one of them")
    elif text:
        try:
            files["ca"] = _written_down(text)
        except ValueError as exc:
            problems.note(f"REGISTRY_CA_TEXT {exc}")
    return files


def _read_urls(text: str, problems: Problems) -> tuple[tuple[str, ...], set[tuple[str, str]]]:
    """The endpoints, and every user with a password that is named in front of one."""
    endpoints: list[str] = []
    logins: set[tuple[str, str]] = set()
    urls = [part.strip() for part in text.split(",") if part.strip()]
    if not urls:
        problems.note("REGISTRY_URL has no endpoint in it; expected http://host:port")
    for url in urls:
        try:
            endpoint, login = _split_url(url)
        except ValueError as exc:
            # the text is not repeated: it may carry a password
            problems.note(f"REGISTRY_URL is no list of http://host:port: {exc}")
            continue
        endpoints.append(endpoint)
        if any(login):
            logins.add(login)
    return tuple(endpoints), logins


def _split_url(url: str) -> tuple[str, tuple[str, str]]:
    """Take ``http://user:password@host:port`` apart into the endpoint and the login."""
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError:
        # what Python says of it quotes the text
        raise ValueError("the port of one is no number, or its host no address") from None
    if found.scheme not in {"http", "https"}:
        raise ValueError("one begins with neither http:// nor https://")
    if not found.hostname or found.path.strip("/") or found.query or found.fragment:
        raise ValueError("one has no host, or something behind the port")
    host = f"[{found.hostname}]" if ":" in found.hostname else found.hostname
    return (
        f"{found.scheme}://{host}:{ETCD_PORT if port is None else port}",
        (unquote(found.username or ""), unquote(found.password or "")),
    )


def first_line(path: str) -> str:
    """The first line of a file with a secret, which no message repeats; empty if it has none.

    Raises:
        ValueError: It cannot be read, as one sentence's end.
    """
    try:
        return (_readable(path).decode().splitlines() or [""])[0]
    except UnicodeDecodeError:
        # what Python says of it quotes a byte of the password
        raise ValueError("the file is not UTF-8") from None


def _written_down(text: str) -> str:
    """Certificates as a file, for those who only take one.

    It is in memory, and ends with us: a container's own files may be read-only.
    """
    try:
        # bundles carry comments in whatever encoding their makers had
        ssl.create_default_context(cadata="\n".join(_CERTIFICATE.findall(text)) or "none")
    except ssl.SSLError:
        raise ValueError("holds no certificates (PEM, with its line breaks)") from None
    file = os.memfd_create("registry-ca")
    os.write(file, text.encode())
    return f"/proc/self/fd/{file}"


def _readable(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise ValueError(f"the file cannot be read ({exc.strerror})") from exc


def _refuse_flag(context: click.Context, parameter: click.Parameter, value: str) -> str:
    name = parameter.name or ""
    if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(
            f"a password on the command line is seen by everybody; set {name.upper()} or"
            f" {name.upper()}_FILE"
        )
    return value
