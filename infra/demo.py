"""``scripts/demo``: takes a real study from an HTTP request to files released for review.

Everything happens as it does between job-server and a backend: the request goes over HTTP, the
jobs run in containers, the results are read from the privacy areas. The exit code is 0 only if all
of it came out as it should.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from infra import demo_report
from infra.images.build import DEMO_IMAGES, JobImages, connect
from infra.local_system import BACKEND, LocalSystem
from rap import ids
from rap.errors import RapError
from rap.status import SUCCEEDED_WITH_EXCLUDED_FILES, StatusCode

STUDY = Path(__file__).parent / "demo-study"
ACTIONS = 8
KEPT_BACK = "output/highest_risks.csv"
RELEASED = ("output/model.json", "output/rates.svg", "output/rates_table.csv")
RUN_LIMIT = 300.0
WORKSPACE = "demo"
PROGRESS_INTERVAL = 0.25

Job = dict[str, Any]


class DemoFailed(RapError):
    """Something did not come out as it should."""


@dataclass(frozen=True)
class Demo:
    """One run of the demo in one system."""

    system: LocalSystem
    console: Console
    study: Path
    commit: str
    rap_id: str

    def run(self) -> list[Job]:
        """Ask for the study, follow it to its end, check and show what came of it.

        Raises:
            DemoFailed: saying what is not as it should be.
        """
        with self.system.client() as client:
            self._create(client)
            jobs = self._follow(client)
        self.console.print()
        self.console.print(demo_report.table_of(jobs))
        manifest = demo_report.manifest_of(self.system.medium_privacy, WORKSPACE)
        self.console.print(demo_report.table_of_manifest(manifest))
        demo_report.print_folders(
            self.console, self.system, WORKSPACE, [job["identifier"] for job in jobs]
        )
        problems = self._problems(jobs, manifest)
        if problems:
            raise DemoFailed("The demo did not end as it should:\n  " + "\n  ".join(problems))
        return jobs

    def _create(self, client: httpx.Client) -> None:
        body = {
            "backend": BACKEND,
            "rap_id": self.rap_id,
            "workspace": WORKSPACE,
            "repo_url": str(self.study),
            "branch": "main",
            "commit": self.commit,
            "database_name": "default",
            "requested_actions": ["run_all"],
            "codelists_ok": True,
            "force_run_dependencies": False,
            "created_by": "demo",
            "project": "demo",
            "orgs": ["demo"],
        }
        self.console.print(f"POST {self.system.api_url}/controller/v1/rap/create/ (run_all)")
        answer = client.post("/controller/v1/rap/create/", json=body)
        self.console.print(f"  {answer.status_code} {answer.text}", markup=False, highlight=False)
        if answer.status_code != httpx.codes.CREATED:
            raise DemoFailed("The RAP was not created.")

    def _follow(self, client: httpx.Client) -> list[Job]:
        started = time.monotonic()
        jobs: list[Job] = []
        with demo_report.Progress(self.console) as progress:
            while time.monotonic() - started < RUN_LIMIT:
                answer = client.post("/controller/v1/rap/status/", json={"rap_ids": [self.rap_id]})
                answer.raise_for_status()
                jobs = answer.json()["jobs"]
                progress.show(jobs, time.monotonic() - started)
                if jobs and all(job["status"] in ("succeeded", "failed") for job in jobs):
                    return jobs
                self.system.stack.check()
                time.sleep(PROGRESS_INTERVAL)
        unfinished = ", ".join(job["action"] for job in jobs if not job["completed_at"])
        raise DemoFailed(f"After {RUN_LIMIT:.0f} s these jobs have not ended: {unfinished}")

    def _problems(self, jobs: list[Job], manifest: dict[str, Any]) -> list[str]:
        found = []
        if len(jobs) != ACTIONS:
            found.append(f"there are {len(jobs)} jobs instead of {ACTIONS}")
        for job in jobs:
            kept_back = job["action"] == Path(KEPT_BACK).stem
            message = SUCCEEDED_WITH_EXCLUDED_FILES if kept_back else StatusCode.SUCCEEDED.message
            if (job["status_code"], job["status_message"]) != (StatusCode.SUCCEEDED, message):
                found.append(f"{job['action']}: {job['status_code']}, {job['status_message']}")
        outputs = manifest.get("outputs", {})
        shared = self.system.medium_privacy / "workspaces" / WORKSPACE
        found += [
            f"{name} is not there for review"
            for name in RELEASED
            if outputs.get(name, {}).get("excluded") is not False or not (shared / name).is_file()
        ]
        if outputs.get(KEPT_BACK, {}).get("excluded") is not True or (shared / KEPT_BACK).exists():
            found.append(f"{KEPT_BACK} was not kept back")
        if not (shared / f"{KEPT_BACK}.txt").is_file():
            found.append(f"there is no note in place of {KEPT_BACK}")
        left = containers_of(self.system.folder)
        if left:
            found.append(f"containers were left behind: {', '.join(left)}")
        return found


def containers_of(folder: Path, *, remove: bool = False) -> list[str]:
    """The names of the job containers whose files are in ``folder``; removed if asked."""
    client = connect()
    try:
        ours = [
            container
            for container in client.containers.list(
                all=True, filters={"label": "jobrunner-local"}, ignore_removed=True
            )
            if any(
                Path(mount.get("Source", "/")).is_relative_to(folder)
                for mount in container.attrs.get("Mounts", ())
            )
        ]
        if remove:
            for container in ours:
                container.remove(force=True)
        return [str(container.name) for container in ours]
    finally:
        client.close()


def make_repository(folder: Path) -> str:
    """Make a git repository of the study and answer its commit."""
    shutil.copytree(STUDY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    # Nobody's own configuration (signing, hooks, templates) has a say here.
    neutral = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for role in ("AUTHOR", "COMMITTER"):
        neutral |= {f"GIT_{role}_NAME": "Demo", f"GIT_{role}_EMAIL": "demo@example.org"}
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | neutral

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(  # noqa: S603  our own command
            command, env=env, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch", "main")
    git("add", "--all", "--force")
    git("commit", "--quiet", "--message", "Add the demo study")
    return git("rev-parse", "HEAD")


def empty(folder: Path, console: Console) -> None:
    """End and remove what an earlier run of the demo left, and nothing else.

    Raises:
        DemoFailed: the folder holds something that the demo did not make.
    """
    if not folder.exists():
        return
    marker = folder / "demo"
    if not marker.is_file() and any(folder.iterdir()):
        raise DemoFailed(f"{folder} holds something else; choose another folder with --folder.")
    ended = LocalSystem(folder).stack.end_left_overs()
    if ended:
        console.print(f"Ended what an earlier run left: {', '.join(ended)}")
    containers_of(folder, remove=True)
    shutil.rmtree(folder)


@contextmanager
def _ends_well(system: LocalSystem, console: Console) -> Iterator[None]:
    """Show the ends of the logs if it goes wrong; end all processes in any case."""
    try:
        yield
    except (RapError, httpx.HTTPError):
        demo_report.print_ends_of_logs(console, system.logs)
        raise
    finally:
        system.stack.stop()
        # The agent leaves its containers to the next one; here none follows.
        containers_of(system.folder, remove=True)


def run(folder: Path, console: Console, *, keep: bool) -> None:
    """Run the demo in ``folder``; with ``keep`` leave it running until Ctrl-C."""
    folder = folder.absolute()
    started = time.monotonic()
    images = JobImages(connect(), tell=console.print)
    for image in DEMO_IMAGES:
        images.ensure(image)
    empty(folder, console)
    folder.mkdir(parents=True)
    (folder / "demo").write_text("Made by scripts/demo, which removes it when it runs again.\n")
    commit = make_repository(folder / "study")
    console.print(f"Study: {folder / 'study'} at commit {commit[:12]}, workspace {WORKSPACE}")
    system = LocalSystem(folder, ui=True)
    with _ends_well(system, console):
        console.print("Starting Temporal, controller, agent and API …")
        system.start()
        console.print(f"  ready after {time.monotonic() - started:.1f} s; logs in {system.logs}")
        demo = Demo(system, console, folder / "study", commit, ids.random_rap_id())
        jobs = demo.run()
        console.print(
            f"\nAll {len(jobs)} jobs came out as they should, "
            f"{time.monotonic() - started:.0f} s after the start."
        )
        demo_report.print_addresses(console, system, keep=keep)
        if keep:
            system.stack.keep_running(console.print)


def main(
    folder: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("var/demo"),
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running until Ctrl-C.")] = False,
) -> None:
    """Run a real study end to end on this machine, and show what came of it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        run(folder, console, keep=keep)
    except KeyboardInterrupt:
        console.print("\nStopped.")
        sys.exit(0 if keep else 130)
    except (RapError, httpx.HTTPError) as error:
        console.print(f"\n{error}", markup=False, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
