"""How long an ended job's outputs take to be published.

Two shapes: a thousand small tables, and one file of a gibibyte. Each is divided by the time that
``cp -r``, ``sync`` and ``sha256sum`` take for the same files in the same run: that much has to be
done in any case, since a record may name only what the disk really holds. The two take turns, so
that a noisy machine treats both alike; medians are compared.
"""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import structlog
import typer

from rap.egress import Ending
from rap.git import GitCache
from rap.models import JobDefinition, PrivacyLevel, Study
from rap.settings import AgentSettings
from worker_agent.engine.facts import ContainerFacts
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.finalize import finalize
from worker_agent.workspace.storage import Storage

FILES = 1000
GIB = 1024**3
STUDY = Study(git_repo_url="https://github.com/opensafely/bench", commit="0" * 40, branch="main")


def many_small(volume: Path) -> None:
    (volume / "output").mkdir(parents=True)
    for number in range(FILES):
        rows = "".join(f"{row},{number}\n" for row in range(100))
        (volume / f"output/{number}.csv").write_text(f"row,value\n{rows}")


def one_large(volume: Path) -> None:
    (volume / "output").mkdir(parents=True)
    block = os.urandom(1024**2)
    with (volume / "output/large.csv").open("wb") as file:
        for _ in range(GIB // len(block)):
            file.write(block)


SHAPES: dict[str, tuple[Callable[[Path], None], PrivacyLevel]] = {
    "1000 small files": (many_small, PrivacyLevel.MODERATELY_SENSITIVE),
    "1 file of 1 GiB": (one_large, PrivacyLevel.HIGHLY_SENSITIVE),
}


def publishing(base: Path, fill: Callable[[Path], None], level: PrivacyLevel) -> float:
    settings = AgentSettings(
        workdir=base / "workdir",
        high_privacy_storage_base=base / "high",
        medium_privacy_storage_base=base / "medium",
    )
    storage = Storage(settings)
    git = GitCache(settings.workdir / "repos", proxy_domain="localhost", token="", user="bench")
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
        output_spec={"output/*.csv": level},
    )
    fill(storage.volume(job.id))
    log = storage.state_dir / "bench.log"
    log.write_text("2026-01-02T03:04:05.678901234Z done\n")
    os.sync()
    ended = ContainerFacts(id="c", name="os-job-bench", running=False, started=True, exit_code=0)
    began = time.perf_counter()
    outcome = asyncio.run(finalize(job, storage, git, AttemptEnd(container=ended, raw_log=log)))
    took = time.perf_counter() - began
    if outcome.ending is not Ending.COMPLETED or outcome.has_unmatched_patterns:
        raise RuntimeError(f"the job was not published: {outcome}")
    return took


def copying(base: Path, fill: Callable[[Path], None], *, copies: int) -> float:
    """The same with the commands of the operating system."""
    fill(base / "volume")
    os.sync()
    began = time.perf_counter()
    for number in range(copies):
        subprocess.run(["cp", "-r", "volume", f"copy{number}"], cwd=base, check=True)
        subprocess.run(["sync", "-f", f"copy{number}"], cwd=base, check=True)
        subprocess.run(
            f"find copy{number} -type f -print0 | xargs -0 sha256sum > sums{number}",
            cwd=base,
            shell=True,
            check=True,
        )
    return time.perf_counter() - began


def main(
    rounds: Annotated[int, typer.Option(help="Measurements of each.")] = 3,
    folder: Annotated[Path | None, typer.Option(help="Where to write; a disk, not memory.")] = None,
) -> None:
    """Measure both shapes; prints JSON, seconds and their quotients."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    results = {}
    for name, (fill, level) in SHAPES.items():
        # What passes the gate is copied twice: into the workspace, and to level 4.
        copies = 2 if level is PrivacyLevel.MODERATELY_SENSITIVE else 1
        published, copied = [], []
        for _ in range(rounds):
            base = Path(tempfile.mkdtemp(prefix="rap-bench-", dir=folder))
            try:
                copied.append(copying(base / "cp", fill, copies=copies))
                published.append(publishing(base / "rap", fill, level))
            finally:
                shutil.rmtree(base)
        ours, theirs = statistics.median(published), statistics.median(copied)
        results[name] = {
            "finalize_s": round(ours, 3),
            "cp_sync_sha256sum_s": round(theirs, 3),
            "quotient": round(ours / theirs, 2),
        }
    typer.echo(json.dumps(results, indent=2))


if __name__ == "__main__":
    typer.run(main)
