"""How long the inputs of a job take to be copied into its volume, and to be checked.

Two shapes: one file of two gibibytes, and five thousand of ten kilobytes. Each is divided by the
time that ``cp -r`` and ``sha256sum`` take for the same files in the same run: every byte has to be
copied and hashed in any case. The two take turns, so that a noisy machine treats both alike;
medians are compared.
"""

import asyncio
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from rap.models import JobDefinition, PrivacyLevel, Study
from rap.settings import AgentSettings
from worker_agent.state.attempts import AttemptState
from worker_agent.workspace import provenance
from worker_agent.workspace.prepare import prepare
from worker_agent.workspace.provenance import OutputFile, ProvenanceRecord
from worker_agent.workspace.storage import Storage

STUDY = Study(git_repo_url="/bench", commit="0" * 40, branch="main")
SHAPES = {"1 file of 2 GiB": (1, 2 * 1024**3), "5000 files of 10 kB": (5000, 10_000)}


class NoCode:
    """A repository of nothing: what is measured are the inputs."""

    async def checkout(self, _url: str, _commit: str, target: Path) -> None:
        """It is there."""


class Bench:
    """A workspace with the outputs of a job, and one that needs them."""

    def __init__(self, base: Path, files: int, size: int) -> None:
        self.base, self.count = base, files
        self.settings = AgentSettings(
            workdir=base / "workdir",
            high_privacy_storage_base=base / "high",
            medium_privacy_storage_base=base / "medium",
            allow_local_git_repos=True,
        )
        self.storage = Storage(self.settings)
        self.workspace = self.storage.high("bench")
        (self.workspace / "output").mkdir(parents=True)
        outputs = [self._write(number, size) for number in range(files)]
        record = ProvenanceRecord(
            job_id="made",
            workspace="bench",
            action="make",
            repo=STUDY.git_repo_url,
            commit=STUDY.commit,
            outputs=tuple(outputs),
            succeeded=True,
            filed_at_ns=1,
        )
        path = provenance.path_of(self.storage, "bench", "made")
        path.parent.mkdir(parents=True)
        path.write_bytes(provenance.encoded(record))

    def _write(self, number: int, size: int) -> OutputFile:
        name, digest = f"output/{number}.csv", hashlib.sha256()
        with (self.workspace / name).open("wb") as file:
            for begin in range(0, size, 1024**2):
                block = os.urandom(min(1024**2, size - begin))
                digest.update(block)
                file.write(block)
        return OutputFile(
            name=name, size=size, sha256=digest.hexdigest(), level=PrivacyLevel.HIGHLY_SENSITIVE
        )

    def prepare(self) -> float:
        """By the agent."""
        job = JobDefinition(
            id="bench",
            rap_id="bench",
            task_id="bench-001",
            repo_url=STUDY.git_repo_url,
            commit=STUDY.commit,
            study=STUDY,
            workspace="bench",
            action="act",
            created_at=0,
            image="ghcr.io/opensafely-core/python:v2",
            input_job_ids=("made",),
            needs=("make",),
        )
        git: Any = NoCode()
        attempts = AttemptState(self.storage.state_dir)
        began = time.perf_counter()
        asyncio.run(prepare(job, self.storage, git, self.settings, attempts.note_volume))
        took = time.perf_counter() - began
        if len(attempts.inputs(job.attempt_name)) != self.count:
            raise RuntimeError("not all inputs were copied")
        shutil.rmtree(self.storage.volume(job.attempt_name))
        return took

    def copy(self) -> float:
        """By the commands of the operating system."""
        began = time.perf_counter()
        source = self.workspace / "output"
        subprocess.run(["cp", "-r", source, "copy"], cwd=self.base, check=True)
        subprocess.run(
            "find copy -type f -print0 | xargs -0 sha256sum > sums",
            cwd=self.base,
            shell=True,
            check=True,
        )
        took = time.perf_counter() - began
        shutil.rmtree(self.base / "copy")
        return took


def main(
    rounds: Annotated[int, typer.Option(help="Measurements of each.")] = 5,
    folder: Annotated[Path | None, typer.Option(help="Where to write; a disk, not memory.")] = None,
) -> None:
    """Measure both shapes; prints JSON, seconds and their quotients."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    results = {}
    for name, (files, size) in SHAPES.items():
        base = Path(tempfile.mkdtemp(prefix="rap-bench-", dir=folder))
        try:
            bench, prepared, copied = Bench(base, files, size), list[float](), list[float]()
            for _ in range(rounds):
                for measured, by in ((copied, bench.copy), (prepared, bench.prepare)):
                    os.sync()  # what the last one wrote must not slow down the next
                    measured.append(by())
        finally:
            shutil.rmtree(base)
        ours, theirs = statistics.median(prepared), statistics.median(copied)
        results[name] = {
            "prepare_s": round(ours, 3),
            "cp_sha256sum_s": round(theirs, 3),
            "quotient": round(ours / theirs, 2),
        }
    typer.echo(json.dumps(results, indent=2))


if __name__ == "__main__":
    typer.run(main)
