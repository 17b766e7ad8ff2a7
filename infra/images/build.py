"""Makes sure of the images that we use: those here, else pulled, else built as stand-ins.

``python -m infra.images.build [image …]``. A stand-in carries the name of the real image, so that
projects need not change, and the label ``org.opensafely.stand-in=true``.
"""

import hashlib
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import docker
import typer
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.images import Image
from requests.exceptions import RequestException

from infra.images import rootfs
from infra.temporal.cli import VERSION as TEMPORAL_VERSION
from infra.temporal.cli import say
from rap.errors import ConfigurationError, RapError, Unavailable

REGISTRY = "ghcr.io/opensafely-core"
PYTHON = f"{REGISTRY}/python:v2"
EHRQL = f"{REGISTRY}/ehrql:v1"
BUSYBOX = f"{REGISTRY}/busybox:v1"
DATABASE_UTILS = f"{REGISTRY}/tpp-database-utils:latest"
"""The program of the database checks."""
TEMPORAL = f"temporalio/temporal:{TEMPORAL_VERSION.removeprefix('v')}"
"""The development server as a container."""
DEMO_IMAGES = (PYTHON, EHRQL)
ALL_IMAGES = (PYTHON, EHRQL, BUSYBOX, DATABASE_UTILS, TEMPORAL)

STAND_IN_LABEL = "org.opensafely.stand-in"
SOURCES_LABEL = "org.opensafely.stand-in.sources"
_ANSWER_LIMIT = 10
_PULL_LIMIT = 300.0
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class StandIn:
    """How the stand-in of an image is made."""

    fill: Callable[[Path], None]
    """Puts the programs into a folder that becomes the root file system."""
    start: str
    """The instruction of a Dockerfile that says what a container runs."""
    program: str = ""
    """Of this folder; added as ``/opt/PROGRAM``."""


def _run_by_python(program: str) -> StandIn:
    start = f'ENTRYPOINT ["/usr/local/bin/python", "/opt/{program}"]'
    return StandIn(rootfs.python, start, program)


STAND_INS: dict[str, StandIn] = {
    PYTHON: StandIn(rootfs.python, 'ENTRYPOINT ["/usr/local/bin/entrypoint"]'),
    EHRQL: _run_by_python("ehrql_stand_in.py"),
    DATABASE_UTILS: _run_by_python("database_utils_stand_in.py"),
    BUSYBOX: StandIn(rootfs.busybox, 'CMD ["/bin/sh"]'),
    TEMPORAL: StandIn(rootfs.temporal, 'ENTRYPOINT ["/usr/local/bin/temporal"]'),
}


class JobImages:
    """The job images of one Docker engine."""

    def __init__(self, client: docker.DockerClient, tell: Callable[[str], None] = say) -> None:
        self._client = client
        self._tell = tell
        self._registry_answers: dict[str, bool] = {}
        self._sources = sources_digest()

    def ensure(self, name: str) -> None:
        """Have the image ``name`` on the engine.

        Raises:
            ConfigurationError: it is neither here nor to be pulled, and there is no stand-in.
            Unavailable: the engine fails while it works.
        """
        try:
            if self._is_here(name) or self._pull(name):
                return
            if name not in STAND_INS:
                raise ConfigurationError(f"There is no image {name} here, and it cannot be pulled.")
            self.build(name)
        except (DockerException, RequestException) as error:
            raise Unavailable(f"Docker could not provide the image {name}: {error}") from error

    def build(self, name: str) -> None:
        """Build the stand-in of an image and give it the image's name."""
        started = time.monotonic()
        outdated = self._find(name)
        recipe = STAND_INS[name]
        self._tell(f"{name}: cannot be pulled; building a stand-in from this machine's programs.")

        def fill(root: Path) -> None:
            recipe.fill(root)
            if recipe.program:
                (root / "opt").mkdir()
                shutil.copy(_HERE / recipe.program, root / "opt")

        repository, _, tag = name.rpartition(":")
        environment = "PATH=/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 LANG=C.UTF-8"
        instructions = [recipe.start, "WORKDIR /workspace", f"ENV {environment}"]
        instructions += [f'LABEL {key}="{value}"' for key, value in self._labels(name).items()]
        with tempfile.TemporaryFile() as archive:
            rootfs.write_archive(fill, archive)
            archive.seek(0)
            self._client.api.import_image(
                src=archive, repository=repository, tag=tag, changes=instructions
            )
        if outdated and outdated.id:
            # One that a container still uses stays; it costs disk space only.
            with suppress(APIError):
                self._client.images.remove(outdated.id)
        self._tell(f"{name}: stand-in built in {time.monotonic() - started:.0f} s.")

    def _labels(self, name: str) -> dict[str, str]:
        """Those of the real images that the metadata of jobs need, and ours."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            STAND_IN_LABEL: "true",
            SOURCES_LABEL: self._sources,
            "org.opencontainers.image.version": f"{name.rpartition(':')[2]}-stand-in",
            "org.opencontainers.image.revision": self._sources,
            "org.opencontainers.image.created": now,
            "org.opencontainers.base.build-date": now,
            "org.opensafely.base.vcs-ref": self._sources,
            "org.opensafely.action": name.rpartition("/")[2].partition(":")[0],
        }

    def _find(self, name: str) -> Image | None:
        try:
            return self._client.images.get(name)
        except ImageNotFound:
            return None

    def _is_here(self, name: str) -> bool:
        """Whether the engine has the image; a stand-in of other sources does not count."""
        image = self._find(name)
        if image is None:
            return False
        labels = image.labels or {}
        return labels.get(STAND_IN_LABEL) != "true" or labels.get(SOURCES_LABEL) == self._sources

    def _pull(self, name: str) -> bool:
        registry = _registry_of(name)
        if registry not in self._registry_answers:
            self._registry_answers[registry] = self._ask(registry, name)
        if not self._registry_answers[registry]:
            return False
        self._tell(f"{name}: pulling.")
        deadline = time.monotonic() + _PULL_LIMIT
        try:
            for event in self._client.api.pull(name, stream=True, decode=True):
                if "error" in event:
                    return False
                if time.monotonic() > deadline:
                    self._tell(f"{name}: pulling took longer than {_PULL_LIMIT:.0f} s; given up.")
                    return False
        except (DockerException, RequestException):
            return False
        return self._find(name) is not None

    def _ask(self, registry: str, name: str) -> bool:
        # A name that does not resolve is known at once here; the engine would try for long.
        try:
            socket.getaddrinfo(registry, 443)
        except OSError:
            return False
        api = docker.APIClient(base_url=self._client.api.base_url, timeout=_ANSWER_LIMIT)
        try:
            api.inspect_distribution(name)  # type: ignore[no-untyped-call]
        except NotFound:
            return True  # it answers, though it lacks this image
        except (DockerException, RequestException):
            return False
        finally:
            api.close()
        return True


def sources_digest() -> str:
    """What stand-ins are made of, as 12 hex digits: a change makes those that are here outdated."""
    digest = hashlib.sha256(sys.version.encode())
    for file in ("build.py", "rootfs.py", "ehrql_stand_in.py", "database_utils_stand_in.py"):
        digest.update((_HERE / file).read_bytes())
    return digest.hexdigest()[:12]


def connect() -> docker.DockerClient:
    """The Docker engine of this machine.

    Raises:
        Unavailable: it does not answer.
    """
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except (DockerException, RequestException) as error:
        raise Unavailable(
            "Docker does not answer. Start it, or join the group docker, and try again."
        ) from error
    return client


def _registry_of(name: str) -> str:
    first, slash, _ = name.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first.partition(":")[0] if is_host else "registry-1.docker.io"


def main(
    images: Annotated[
        list[str] | None, typer.Argument(help="Full names; default: all that we use.")
    ] = None,
) -> None:
    """Make sure of the job images."""
    try:
        ours = JobImages(connect())
        for name in images or ALL_IMAGES:
            ours.ensure(name)
    except RapError as error:
        say(str(error))
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
