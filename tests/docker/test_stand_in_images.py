"""The stand-ins for job images behave as the real ones do where our jobs can tell."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import ContainerError
from docker.types import Mount

from infra.images import build
from infra.images.build import STAND_IN_LABEL, JobImages
from rap.errors import ConfigurationError

pytestmark = pytest.mark.docker

PYTHON = "opensafely-rap-test/python:v1"
EHRQL = "opensafely-rap-test/ehrql:v1"


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    """An engine with freshly built stand-ins under names of our own."""
    client = build.connect()
    recipes = {
        PYTHON: build.STAND_INS[build.PYTHON],
        EHRQL: build.STAND_INS[build.EHRQL],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "STAND_INS", recipes)
        images = JobImages(client, tell=lambda _: None)
        for name in recipes:
            images.build(name)
        yield client
    for name in recipes:
        client.images.remove(name)
    client.close()


def run(client: docker.DockerClient, image: str, *words: str, workspace: Path) -> str:
    """Run as the agent does: no network, no capabilities, the workspace mounted."""
    output: bytes = client.containers.run(
        image,
        list(words),
        remove=True,
        network_mode="none",
        cap_drop=["ALL"],
        mounts=[Mount("/workspace", str(workspace), type="bind")],
        stderr=True,
    )
    return output.decode()


def test_the_command_may_name_python_or_leave_it_out(
    client: docker.DockerClient, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text("import os, ssl, sqlite3; print(os.getcwd())")
    assert run(client, PYTHON, "python", "a.py", workspace=tmp_path) == "/workspace\n"
    assert run(client, PYTHON, "a.py", workspace=tmp_path) == "/workspace\n"
    assert run(client, PYTHON, "sh", "-c", "echo $PWD", workspace=tmp_path) == "/workspace\n"


def test_the_exit_code_is_that_of_the_program(client: docker.DockerClient, tmp_path: Path) -> None:
    with pytest.raises(ContainerError) as ended:
        run(client, PYTHON, "python", "-c", "raise SystemExit(7)", workspace=tmp_path)
    assert ended.value.exit_status == 7


def test_the_dataset_has_the_columns_of_its_definition(
    client: docker.DockerClient, tmp_path: Path
) -> None:
    (tmp_path / "definition.py").write_text(
        "dataset.configure_dummy_data(population_size=20)\ndataset.age = 1\ndataset.died = 2\n"
    )
    words = ("generate-dataset", "definition.py", "--output", "output/data.csv")
    assert "stand-in" in run(client, EHRQL, *words, workspace=tmp_path)
    lines = (tmp_path / "output/data.csv").read_text().splitlines()
    assert lines[0] == "patient_id,age,died"
    assert len(lines) == 21


def test_stand_ins_say_what_they_are_and_carry_the_labels_that_metadata_needs(
    client: docker.DockerClient,
) -> None:
    labels = client.images.get(PYTHON).labels
    assert labels[STAND_IN_LABEL] == "true"
    for name in ("image.version", "image.revision", "image.created", "base.build-date"):
        assert labels[f"org.opencontainers.{name}"]
    assert labels["org.opensafely.base.vcs-ref"]


def test_an_image_that_is_neither_here_nor_pulled_nor_made_is_a_clear_error(
    client: docker.DockerClient,
) -> None:
    with pytest.raises(ConfigurationError, match=r"no image registry\.invalid/nobody:v1"):
        JobImages(client, tell=lambda _: None).ensure("registry.invalid/nobody:v1")
