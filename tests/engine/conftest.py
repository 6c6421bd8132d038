"""Fixtures of the container tests: an engine, images built from the tree, a place for containers.

The engine is the one of the environment (``DOCKER_HOST``); ``.ci/engine`` starts one. Base images
come from the same variables as those of the compose file: ``PYTHON_IMAGE``, ``NGINX_IMAGE``,
``ETCD_IMAGE``; ``.ci/bases`` makes them where no registry of images is reached.
"""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import APIError, BuildError, DockerException, ImageNotFound

from tests.engine.containers import BUILD_ARGUMENTS, ROOT, RUN, Images, Place, remove_all
from tests.engine.host import Host
from tests.etcd_server import EtcdServer

ENGINE_TIMEOUT_S = 120
"""For one answer of the engine: an etcd with a watch open takes long to stop."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without an engine, one test says so for all of them."""
    needing = [item for item in items if "engine" in getattr(item, "fixturenames", ())]
    client = _client() if needing else None
    if client is not None:
        client.close()
        return
    config.hook.pytest_deselected(items=needing[1:])
    left_out = set(needing[1:])
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine of the environment; without one, the tests say so and are skipped."""
    client = _client()
    if client is None:
        pytest.skip(
            f"no Docker engine answers at {os.environ.get('DOCKER_HOST', 'the usual socket')};"
            " start one, or as root: .ci/engine make test"
        )
    yield client
    remove_all(client)
    client.close()


def _client() -> docker.DockerClient | None:
    with warnings.catch_warnings():
        # one that cannot connect leaves its socket to the collector, with a warning
        warnings.simplefilter("ignore", ResourceWarning)
        with suppress(DockerException):
            return docker.from_env(timeout=ENGINE_TIMEOUT_S)
        gc.collect()
        return None


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient) -> Images:
    """Both images, built from the tree under a tag of this run."""
    bases = {
        "PYTHON_IMAGE": os.environ.get("PYTHON_IMAGE", "python:3.13-slim"),
        "NGINX_IMAGE": os.environ.get("NGINX_IMAGE", "nginx:1.30"),
    }
    etcd = os.environ.get("ETCD_IMAGE", "gcr.io/etcd-development/etcd:v3.5.30")
    for base in (*bases.values(), etcd):
        _have(engine, base)
    handed_on = {name: os.environ[name] for name in BUILD_ARGUMENTS if os.environ.get(name)}
    built = {}
    for name in ("frontend", "registrar"):
        built[name] = f"branchfront/{name}:{RUN}"
        try:
            engine.images.build(
                path=str(ROOT),
                dockerfile=f"docker/{name}.Dockerfile",
                tag=built[name],
                buildargs={**bases, **handed_on},
                rm=True,
                forcerm=True,
            )
        except BuildError as exc:
            story = "".join(line.get("stream", "") for line in exc.build_log)
            pytest.fail(f"docker/{name}.Dockerfile: {exc}\n{story[-4000:]}", pytrace=False)
    return Images(
        **built,
        python=bases["PYTHON_IMAGE"],
        nginx=bases["NGINX_IMAGE"],
        etcd=etcd,
    )


def _have(engine: docker.DockerClient, image: str) -> None:
    """Make sure that a base is there."""
    try:
        engine.images.get(image)
    except ImageNotFound:
        try:
            engine.images.pull(image, tag=None if ":" in image else "latest")
        except APIError as exc:
            pytest.fail(
                f"the image {image} is not here and cannot be pulled; have one made with"
                f' eval "$(.ci/bases)" ({exc.explanation})',
                pytrace=False,
            )


@pytest.fixture
def place(engine: docker.DockerClient, images: Images) -> Iterator[Place]:
    """A network with whatever the test starts on it."""
    with Place(engine, images) as place:
        yield place


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """An etcd on this machine, for what runs beside the engine."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@pytest.fixture
def host(engine: docker.DockerClient, etcd: EtcdServer, tmp_path: Path) -> Iterator[Host]:
    """A frontend on this machine, and containers that an agent may find."""
    with Host(engine, etcd, tmp_path) as host:
        yield host
