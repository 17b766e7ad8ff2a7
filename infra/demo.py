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
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from infra import demo_report
from infra.demo_report import Job
from infra.images.build import DEMO_IMAGES, JobImages, connect
from infra.local_system import BACKEND, LocalSystem
from rap import ids
from rap.errors import RapError
from rap.sentences import CODE_SENTENCES, SUCCEEDED_WITH_EXCLUDED_FILES
from rap.status import StatusCode

STUDY = Path(__file__).parent / "demo-study"
ACTIONS = 8
KEPT_BACK = "output/highest_risks.csv"
RELEASED = ("output/model.json", "output/rates.svg", "output/rates_table.csv")
RUN_LIMIT = 300.0
WORKSPACE = "demo"
PROGRESS_INTERVAL = 0.25


class DemoFailed(RapError):
    """Something did not come out as it should."""


def ask_for(system: LocalSystem, console: Console, study: Path, commit: str) -> str:
    """Send the request that job-server would send, and answer its RAP's id.

    Raises:
        DemoFailed: the RAP was not created.
    """
    rap_id = ids.random_rap_id()
    body = {
        "backend": BACKEND,
        "rap_id": rap_id,
        "workspace": WORKSPACE,
        "repo_url": str(study),
        "branch": "main",
        "commit": commit,
        "database_name": "default",
        "requested_actions": ["run_all"],
        "codelists_ok": True,
        "force_run_dependencies": False,
        "created_by": "demo",
        "project": "demo",
        "orgs": ["demo"],
    }
    console.print(f"POST {system.api_url}/controller/v1/rap/create/ (run_all)")
    with system.client() as client:
        answer = client.post("/controller/v1/rap/create/", json=body)
    console.print(f"  {answer.status_code} {answer.text}", markup=False, highlight=False)
    if answer.status_code != httpx.codes.CREATED:
        raise DemoFailed("The RAP was not created.")
    return rap_id


def follow(system: LocalSystem, console: Console, rap_id: str) -> list[Job]:
    """Show where the jobs stand until all have ended, and answer with them.

    Raises:
        DemoFailed: they take too long.
    """
    started = time.monotonic()
    jobs: list[Job] = []
    with demo_report.progress(console) as show, system.client() as client:
        while time.monotonic() - started < RUN_LIMIT:
            answer = client.post("/controller/v1/rap/status/", json={"rap_ids": [rap_id]})
            answer.raise_for_status()
            jobs = answer.json()["jobs"]
            show(jobs, time.monotonic() - started)
            if jobs and all(job["status"] in ("succeeded", "failed") for job in jobs):
                return jobs
            system.stack.raise_if_ended()
            time.sleep(PROGRESS_INTERVAL)
    unfinished = ", ".join(job["action"] for job in jobs if not job["completed_at"])
    raise DemoFailed(f"After {RUN_LIMIT:.0f} s these jobs have not ended: {unfinished}")


def check(system: LocalSystem, jobs: list[Job], manifest: dict[str, Any]) -> None:
    """Compare what came of it with what should.

    Raises:
        DemoFailed: with all that is not as it should be.
    """
    found = [] if len(jobs) == ACTIONS else [f"there are {len(jobs)} jobs instead of {ACTIONS}"]
    for job in jobs:
        kept_back = job["action"] == Path(KEPT_BACK).stem
        plain = CODE_SENTENCES[StatusCode.SUCCEEDED]
        message = SUCCEEDED_WITH_EXCLUDED_FILES if kept_back else plain
        if (job["status_code"], job["status_message"]) != (StatusCode.SUCCEEDED, message):
            found.append(f"{job['action']}: {job['status_code']}, {job['status_message']}")
    excluded = {name: entry.get("excluded") for name, entry in manifest.get("outputs", {}).items()}
    shared = system.medium_privacy / "workspaces" / WORKSPACE
    found += [
        f"{name} is not there for review"
        for name in RELEASED
        if excluded.get(name) is not False or not (shared / name).is_file()
    ]
    if excluded.get(KEPT_BACK) is not True or (shared / KEPT_BACK).exists():
        found.append(f"{KEPT_BACK} was not kept back")
    if not (shared / f"{KEPT_BACK}.txt").is_file():
        found.append(f"there is no note in place of {KEPT_BACK}")
    if left := containers_of(system.folder):
        found.append(f"containers were left behind: {', '.join(left)}")
    if found:
        raise DemoFailed("The demo did not end as it should:\n  " + "\n  ".join(found))


def containers_of(folder: Path, *, remove: bool = False) -> list[str]:
    """The names of the job containers whose files are in ``folder``; removed if asked."""
    names = []
    with closing(connect()) as client:
        for container in client.containers.list(
            all=True, filters={"label": "jobrunner-local"}, ignore_removed=True
        ):
            mounts = container.attrs.get("Mounts", ())
            if any(Path(mount.get("Source", "/")).is_relative_to(folder) for mount in mounts):
                names.append(str(container.name))
                if remove:
                    container.remove(force=True)
    return names


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
        return subprocess.check_output(command, env=env, text=True).strip()  # noqa: S603

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
    try:
        console.print("Starting Temporal, controller, agent and API …")
        system.start()
        console.print(f"  ready after {time.monotonic() - started:.1f} s; logs in {system.logs}")
        jobs = follow(system, console, ask_for(system, console, folder / "study", commit))
        manifest = demo_report.manifest_of(system.medium_privacy, WORKSPACE)
        demo_report.print_results(console, system, WORKSPACE, jobs, manifest)
        check(system, jobs, manifest)
        console.print(
            f"\nAll {len(jobs)} jobs came out as they should, "
            f"{time.monotonic() - started:.0f} s after the start."
        )
        demo_report.print_addresses(console, system, keep=keep)
        if keep:
            system.stack.keep_running(console.print)
    except (RapError, httpx.HTTPError):
        demo_report.print_ends_of_logs(console, system.logs)
        raise
    finally:
        system.stack.stop()
        # The agent leaves its containers to the next one; here none follows.
        containers_of(system.folder, remove=True)


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
