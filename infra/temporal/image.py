"""An image of the development server: the command line of this machine, with what it loads.

For where no registry is reachable; ``temporalio/temporal`` is the real one, and takes the same
arguments.
"""

import hashlib
import tempfile

import docker
from docker.errors import DockerException, ImageNotFound
from requests.exceptions import RequestException

from infra.images.rootfs import RootFileSystem
from infra.temporal.cli import Say, resolve_cli, say
from rap.errors import Unavailable

REPOSITORY = "opensafely-rap-stand-in/temporal"
PROGRAM = "/usr/local/bin/temporal"


def ensure_image(client: docker.DockerClient, *, tell: Say = say) -> str:
    """Have an image whose entry point is the Temporal command line; its name.

    Raises:
        ConfigurationError: there is no Temporal command line.
        Unavailable: the engine fails while it works.
    """
    cli = resolve_cli(tell=tell)
    with cli.open("rb") as program:
        tag = hashlib.file_digest(program, "sha256").hexdigest()[:12]
    name = f"{REPOSITORY}:{tag}"
    try:
        try:
            client.images.get(name)
        except ImageNotFound:
            tell(f"{name}: building it from {cli}.")
            with tempfile.TemporaryFile() as archive:
                root = RootFileSystem(archive)
                root.folder("/tmp", 0o1777)  # noqa: S108  inside the image
                root.program(cli, PROGRAM)
                root.close()
                archive.seek(0)
                client.api.import_image(
                    src=archive,
                    repository=REPOSITORY,
                    tag=tag,
                    changes=[f'ENTRYPOINT ["{PROGRAM}"]', "WORKDIR /tmp"],
                )
    except (DockerException, RequestException) as error:
        raise Unavailable(f"Docker could not build {name}: {error}") from error
    return name
