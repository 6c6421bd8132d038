"""Compose files of the project, brought up as a user does, under a name of the test's own."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
from docker.models.containers import Container

from tests.engine.containers import ROOT, RUN, Images

UP_S = 180
"""For one compose command; most of it is a build, where one is asked for."""

FILE = ROOT / "docker-compose.yml"

LABEL = "com.docker.compose.project"


def versions() -> list[tuple[str, ...]]:
    """The compose commands of this machine: the plugin of docker, and the program of its own."""
    found: list[tuple[str, ...]] = []
    if program := shutil.which("docker"):
        asked = subprocess.run(
            [program, "compose", "version"], capture_output=True, check=False, text=True
        )
        if asked.returncode == 0 and "Compose" in asked.stdout:
            found.append(("docker", "compose"))
    if shutil.which("docker-compose"):
        found.append(("docker-compose",))
    return found


class Project:
    """One compose project; all of it goes behind a ``with``, volumes too.

    Args:
        command: The compose to run.
        file: What it runs.
        options: Such as ``--profile demo``, for every command.
        environ: What the shell of a user would have set.
    """

    def __init__(
        self,
        engine: docker.DockerClient,
        images: Images,
        command: Sequence[str],
        *,
        file: Path = FILE,
        options: Sequence[str] = (),
        environ: dict[str, str],
    ) -> None:
        self.engine = engine
        self.images = images
        self.name = f"{RUN}-{secrets.token_hex(3)}"
        inherited = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG")
        self._environ = {n: os.environ[n] for n in inherited if n in os.environ} | environ
        self._command = [*command, "-p", self.name, "-f", str(file), *options]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self("down", "--volumes", "--remove-orphans", "--timeout", "10")

    def __call__(self, *arguments: str) -> str:
        """Run a compose command; what it says on both streams. It has to succeed."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=UP_S,
            check=False,
        )
        assert done.returncode == 0, f"{self._command} {arguments}\n{done.stdout[-6000:]}"
        return done.stdout

    def containers(self) -> dict[str, Container]:
        """Every container of the project, by its service."""
        found = self.engine.containers.list(all=True, filters={"label": f"{LABEL}={self.name}"})
        return {one.labels["com.docker.compose.service"]: one for one in found}

    def container(self, service: str) -> Container:
        """The container of a service."""
        return self.containers()[service]


def environ(images: Images, *, network: str, port: int) -> dict[str, str]:
    """What a test sets in place of the defaults: nothing of the machine's own is touched."""
    return {
        "NETWORK": network,
        "PORT": str(port),
        "FRONTEND_IMAGE": images.frontend,
        "REGISTRAR_IMAGE": images.registrar,
        "PYTHON_IMAGE": images.python,
        "NGINX_IMAGE": images.nginx,
        "ETCD_IMAGE": images.etcd,
    }
