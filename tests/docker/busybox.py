"""The image of the docker tests: it holds nothing but busybox."""

import shutil
from pathlib import Path

from docker import DockerClient

IMAGE = "ghcr.io/opensafely-core/busybox:v1"


def build_busybox(client: DockerClient, folder: Path) -> str:
    """Build the image on an engine; its name."""
    folder.mkdir(parents=True, exist_ok=True)
    busybox = shutil.which("busybox")
    assert busybox, "the docker tests need busybox-static"
    shutil.copy(busybox, folder / "busybox")
    (folder / "Dockerfile").write_text(
        "FROM scratch\n"
        "COPY busybox /bin/busybox\n"
        'RUN ["/bin/busybox", "--install", "/bin"]\n'
        "LABEL org.opencontainers.image.version=v1.2.3\n"
        "WORKDIR /workspace\n"
    )
    client.images.build(path=str(folder), tag=IMAGE, rm=True, network_mode="none")
    return IMAGE
