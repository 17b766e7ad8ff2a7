"""`rap agent ehrql-telemetry` and `ehrql-log-telemetry`, with a stand-in for ehrQL's image."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from cli.main import run_app
from rap.settings import AgentSettings
from tests.support.spans import Receiver, receiver
from worker_agent.workspace.storage import Storage

pytestmark = pytest.mark.docker

REGISTRY = "telemetry.test/ehrql-tests"
SCRIPT = """\
#!/bin/sh
while read -r moment rest; do
  case "$rest" in
    query*) echo "{\\"name\\": \\"$rest\\", \\"start\\": \\"$moment\\", \\"end\\": null}" ;;
    closed*)
      echo "{\\"name\\": \\"$rest\\", \\"start\\": \\"$moment\\", \\"end\\": \\"$moment\\"}" ;;
    blank*) echo ;;
    *) echo "$rest" ;;
  esac
done
"""
LOG = """\
2026-01-02T03:04:05.678901234Z query one
2026-01-02T03:04:06Z noise
2026-01-02T03:04:06Z blank
2026-01-02T03:04:07Z closed two
"""
NS = 1_000_000_000
T = 1_767_323_045


@pytest.fixture(scope="module")
def ehrql(docker_client: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image whose script turns lines of a log into JSON."""
    folder = tmp_path_factory.mktemp("ehrql")
    shutil.copy(shutil.which("busybox"), folder / "busybox")
    (folder / "parse_logs.py").write_text(SCRIPT)
    (folder / "parse_logs.py").chmod(0o755)
    (folder / "Dockerfile").write_text(
        "FROM scratch\n"
        "COPY busybox /bin/busybox\n"
        "COPY busybox /bin/sh\n"
        "COPY parse_logs.py /app/scripts/parse_logs.py\n"
        'ENTRYPOINT ["/bin/busybox", "env"]\n'
    )
    name = f"{REGISTRY}/ehrql:v1"
    docker_client.images.build(path=str(folder), tag=name, rm=True)
    yield name
    docker_client.images.remove(name)


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture(autouse=True)
def _surroundings(
    settings: AgentSettings,
    collector: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ehrql: str,
) -> None:
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_REGISTRY", REGISTRY)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    # What the command sets by itself.
    for name in ("OTEL_SERVICE_NAME", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_EXPORT_TIMEOUT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def finished(settings: AgentSettings) -> Callable[..., Any]:
    """Leaves the record and the log of a finished job."""

    def make(
        job_id: str = "jobjobjobjobjob1",
        image: str = "ghcr.io/opensafely-core/ehrql:v1",
        **changes: Any,
    ) -> Path:
        folder = Storage(settings).logs / "2026-01" / f"os-job-{job_id}"
        folder.mkdir(parents=True)
        record = {
            "job_definition_id": job_id,
            "task_id": f"{job_id}-001",
            "exit_code": "0",
            "oom_killed": False,
            "job_metrics": {"cpu_peak": 150.5, "cpu_mean": 70.0},
            "outputs": {"secret/file.csv": "highly_sensitive"},
            "container_metadata": {
                "Args": ["generate-dataset", "dataset.py"],
                "Config": {"Image": image, "Labels": {"workspace": "w", "action": "a"}},
                "State": {
                    "StartedAt": "2026-01-02T03:04:05.123456789Z",
                    "FinishedAt": "2026-01-02T03:04:10.987654321Z",
                },
            },
        }
        (folder / "metadata.json").write_text(json.dumps(record | changes))
        (folder / "logs.txt").write_text(LOG)
        return folder

    return make


ATTRIBUTES = {
    "job.id": "jobjobjobjobjob1",
    "task.id": "jobjobjobjobjob1-001",
    "job.exit_code": "0",
    "job.oom_killed": False,
    "job.cancelled": False,
    "job.workspace": "w",
    "job.action": "a",
    "job.run_command": "generate-dataset dataset.py",
    "job.cpu_peak": 150.5,
    "job.cpu_mean": 70.0,
    "job.mem_mb_peak": 0,
    "job.mem_mb_mean": 0,
}


@pytest.mark.spec("agent:160")
@pytest.mark.parametrize("by_folder", [False, True])
def test_the_queries_of_a_finished_job_are_sent_as_spans(
    finished: Callable[..., Any],
    collector: Receiver,
    capsys: pytest.CaptureFixture[str],
    by_folder: bool,
    docker_client: DockerClient,
) -> None:
    folder = finished()
    before = {each.id for each in docker_client.containers.list(all=True)}
    job = str(folder) if by_folder else "jobjobjobjobjob1"
    assert run_app(["agent", "ehrql-telemetry", "timings", job]) == 0
    said = capsys.readouterr().err
    assert "bad json from ehrql: noise" in said
    assert "3 spans sent as timings." in said
    assert [(name, attributes) for name, attributes, _ in collector.spans] == [
        ("ehrql.generate-dataset", ATTRIBUTES),
        ("query one", ATTRIBUTES),
        ("closed two", ATTRIBUTES),
    ]
    assert {resource["service.name"] for _, _, resource in collector.spans} == {"timings"}
    (told,) = [span for r in collector.requests for s in r.resource_spans for span in s.scope_spans]
    times = [
        (each.start_time_unix_nano - T * NS, each.end_time_unix_nano - T * NS)
        for each in told.spans
    ]
    end = 5 * NS + 987_654_000
    assert times == [(123_456_000, end), (678_901_000, end), (2 * NS, 2 * NS)]
    ours = [
        each
        for each in docker_client.containers.list(all=True)
        if each.id not in before and "ehrql-tests" in str(each.attrs["Config"]["Image"])
    ]
    assert ours == []


@pytest.mark.spec("agent:160")
def test_a_job_of_another_program_is_refused(
    finished: Callable[..., Any], collector: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(image="ghcr.io/opensafely-core/python:v2")
    assert run_app(["agent", "ehrql-telemetry", "timings", "jobjobjobjobjob1"]) == 1
    said = capsys.readouterr().err
    assert "Cowardly refusing to emit telemetry for non-ehrql job" in said
    assert collector.requests == []


def test_a_job_that_is_not_there_is_refused_with_where_to_look(
    capsys: pytest.CaptureFixture[str], settings: AgentSettings
) -> None:
    assert run_app(["agent", "ehrql-telemetry", "timings", "nosuchjob"]) == 1
    assert str(settings.high_privacy / "logs") in capsys.readouterr().err


def test_without_a_receiver_nothing_is_pretended(
    finished: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finished()
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    assert run_app(["agent", "ehrql-telemetry", "timings", "jobjobjobjobjob1"]) == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in capsys.readouterr().err


def test_spans_that_the_receiver_refuses_are_a_failure(
    finished: Callable[..., Any], capsys: pytest.CaptureFixture[str], collector: Receiver
) -> None:
    finished()
    collector.status = 400
    assert run_app(["agent", "ehrql-telemetry", "timings", "jobjobjobjobjob1"]) == 1
    assert "3 of 3 spans could not be sent" in capsys.readouterr().err


@pytest.mark.spec("agent:161")
@pytest.mark.parametrize(
    ("options", "attributes"),
    [
        ([], {}),
        (["--workspace", "w", "--attrs", "k=v=w", "--attrs", "n=1"],
         {"workspace": "w", "k": "v=w", "n": "1"}),
        (["--commit", "c", "--action", "a"], {"commit": "c", "action": "a"}),
    ],
)  # fmt: skip
def test_the_spans_of_a_log_have_the_attributes_that_were_given_and_no_others(
    tmp_path: Path, collector: Receiver, options: list[Any], attributes: dict[str, Any]
) -> None:
    log = tmp_path / "run.log"
    log.write_text(LOG)
    command = ["agent", "ehrql-log-telemetry", "timings", str(log), "generate-measures", *options]
    assert run_app(command) == 0
    assert [(name, told) for name, told, _ in collector.spans] == [
        ("ehrql.generate-measures", attributes),
        ("query one", attributes),
        ("closed two", attributes),
    ]
    root = collector.requests[0].resource_spans[0].scope_spans[0].spans[0]
    assert root.start_time_unix_nano == T * NS + 678_901_000
    assert root.end_time_unix_nano == (T + 2) * NS


def test_a_log_that_tells_of_no_query_and_wrong_attributes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "run.log"
    log.write_text("2026-01-02T03:04:06Z blank\n")
    command = ["agent", "ehrql-log-telemetry", "timings", str(log), "generate-dataset"]
    assert run_app(command) == 1
    assert "tells of no query" in capsys.readouterr().err
    assert run_app([*command, "--attrs", "novalue"]) == 1
    assert "NAME=VALUE" in capsys.readouterr().err
    assert run_app([*command[:-1], "dance"]) == 2
