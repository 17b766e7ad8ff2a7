"""The pictures of ``docs/how-to/web-ui.md``: a real system, seen in a real browser.

``just screenshots`` makes them again. Nothing is retouched; the study's repository is served by a
server of this machine in the place of GitHub.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from infra.images.build import PYTHON, JobImages, connect
from infra.local_system import BACKEND
from infra.temporal.cli import resolve_cli
from rap import ids
from rap.contracts.workflows import DATABASE_MAINTENANCE, LIMITS, PAUSE, PRIORITISE
from tests.support.git_server import StudyRepo, serve_git
from tests.support.live_system import (
    LiveSystem,
    Rap,
    Study,
    action,
    eventually,
    gated,
    shell,
    write,
)

PICTURES = Path(__file__).parents[2] / "docs" / "how-to" / "images"
LARGEST = 150_000
"""Bytes of a picture."""

COLOURS = 96
WIDTH = 1360
SETTLE_MS = 5000
"""For fonts and frames: the pages never stop to ask the server for news."""

STUDY = "opensafely/asthma-care"
ACTIONS: dict[str, Any] = {
    "extract_patients": action(
        "--output", "output/out.txt", "analysis/patients.sql", image="sqlrunner:v1"
    ),
    "prepare_codes": write("prepare_codes"),
    "describe_cohort": gated("describe_cohort", needs=["prepare_codes"]),
    "fit_model": gated("fit_model", needs=["prepare_codes"]),
    "draw_plots": write("draw_plots", needs=["fit_model"]),
    "check_rates": shell("exit 3", rates="output/rates.txt"),
    "report": write("report", needs=["check_rates"]),
}
OTHERS: dict[str, Any] = {f"region_{number}": gated(f"region_{number}") for number in range(1, 4)}


def main() -> None:
    """Make all pictures."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    engine = connect()
    JobImages(engine).ensure(PYTHON)
    engine.close()
    PICTURES.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="rap-screenshots-"))
    try:
        with _scene(folder) as (system, rap):
            _take(system, rap)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sizes = {path.name: path.stat().st_size for path in sorted(PICTURES.glob("web-ui-*.png"))}
    sys.stdout.write("".join(f"{name} {size}\n" for name, size in sizes.items()))
    if too_large := [name for name, size in sizes.items() if size > LARGEST]:
        sys.exit(f"Larger than {LARGEST} bytes: {', '.join(too_large)}")


# --- what is to be seen ---


@contextmanager
def _scene(folder: Path) -> Iterator[tuple[LiveSystem, Rap]]:
    """A system at work: jobs run, wait, have succeeded and failed; operators gave orders."""
    certificate = _certificate(folder)
    with serve_git(folder / "git", certificate) as git:
        system = LiveSystem(
            folder / "system",
            ui=True,
            overrides={
                "GITHUB_PROXY_DOMAIN": git.url.removeprefix("https://"),
                "GIT_SSL_CAINFO": str(certificate),
            },
        )
        try:
            system.start()
            yield system, _work(system, folder / "git")
        finally:
            system.end()


def _work(system: LiveSystem, repositories: Path) -> Rap:
    _tell(system, LIMITS.name, max_workers=3, by="ada", why="one disk is being replaced")
    _tell(system, DATABASE_MAINTENANCE.name, on=True, by="ada", why="new data arrive")
    study = _study(repositories / "asthma-care", ACTIONS)
    rap = system.run(study, workspace="asthma-care", created_by="grace", project="asthma-care")
    # Waiting for a job without a gate would race it: it may be over at once.
    for name, code in (("prepare_codes", "succeeded"), ("report", "dependency_failed")):
        rap.wait_for(name, code)
    for name in ("describe_cohort", "fit_model"):
        rap.running_container(name)
    other = _study(repositories / "covid-regions", OTHERS)
    waiting = system.run(other, workspace="covid-regions", created_by="mary", project="covid")
    eventually(
        lambda: sum(job["status"] == "running" for job in waiting.jobs().values()) == 1,
        "one of the others runs",
    )
    _tell(system, PRIORITISE.name, rap_id=waiting.rap_id, priority=2, by="ada", why="for the audit")
    return rap


def _study(folder: Path, actions: dict[str, Any]) -> Study:
    project = json.dumps({"version": "4.0", "actions": actions})
    commit = StudyRepo(folder / "work").commit({"project.yaml": project})
    bare = folder.parent / "opensafely" / folder.name
    subprocess.run(["git", "clone", "-q", "--bare", folder / "work", bare], check=True)
    return Study(f"https://github.com/opensafely/{folder.name}", commit)


def _certificate(folder: Path) -> Path:
    path = folder / "git.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    words = [*command.split(), "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out"]
    subprocess.run([*words, str(folder / "crt")], check=True, capture_output=True)
    path.write_text(path.read_text() + (folder / "crt").read_text())
    return path


def _tell(system: LiveSystem, name: str, **message: object) -> None:
    """Signal the backend as the page says that it is done."""
    words = [
        "workflow",
        "signal",
        "--workflow-id",
        ids.backend_workflow_id(BACKEND),
        "--name",
        name,
    ]
    command = [str(resolve_cli()), *words, "--name", name, "--input", json.dumps(message)]
    env = {**os.environ, "TEMPORAL_ADDRESS": system.server.address}
    subprocess.run(command, check=True, capture_output=True, env=env, timeout=60)


# --- how it is seen ---


class Camera:
    """A browser in front of the Web UI.

    Args:
        ui: the address of the Web UI.
    """

    def __init__(self, ui: str, page: Page) -> None:
        self._ui, self._page = ui, page

    def workflow(self, workflow_id: str, tab: str) -> None:
        """Go to a tab of the page of a workflow."""
        self._page.goto(f"{self._ui}/namespaces/default/workflows/{quote(workflow_id, safe='')}")
        self._page.get_by_role("tab", name=tab).or_(self._page.get_by_text(tab)).first.click()

    def workflows(self, query: str) -> None:
        """Go to the list of workflows with a filter."""
        self._page.goto(f"{self._ui}/namespaces/default/workflows?query={quote(query, safe='')}")

    def fill_in_signal(self, name: str, message: str) -> None:
        """Open the dialog for signals and fill it in."""
        self._page.get_by_text("More Actions").last.click()
        self._page.get_by_text("Send a Signal").locator("visible=true").first.click()
        dialog = self._page.get_by_role("dialog")
        dialog.get_by_test_id("signal-select-button").click()
        dialog.get_by_role("option").filter(has_text=re.compile(rf"^\s*{name}\b")).click()
        dialog.locator(".cm-content").click()
        self._page.keyboard.insert_text(message)
        # The field is laid out anew when it is left, and the buttons move.
        dialog.get_by_text("Send a Signal").click()

    def send_signal(self) -> None:
        """Send what was filled in."""
        self._page.get_by_role("dialog").get_by_role("button", name="Submit").click()

    def take(self, name: str, height: int) -> None:
        """Take a picture of what is there, when it has come to rest."""
        self._page.set_viewport_size({"width": WIDTH, "height": height})
        self._page.wait_for_timeout(SETTLE_MS)
        picture = Image.open(BytesIO(self._page.screenshot()))
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(PICTURES / f"web-ui-{name}.png", optimize=True)


@contextmanager
def _browser(ui: str) -> Iterator[Camera]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield Camera(ui, browser.new_page(viewport={"width": WIDTH, "height": 900}))
        browser.close()


def _take(system: LiveSystem, rap: Rap) -> None:
    with _browser(str(system.server.ui_url)) as camera:
        camera.workflow(ids.backend_workflow_id(BACKEND), "User Metadata")
        camera.take("backend", 1250)
        camera.workflow(rap.workflow_id, "User Metadata")
        camera.take("rap", 860)
        camera.workflow(rap.job_workflow_id("prepare_codes"), "User Metadata")
        camera.take("job", 860)
        camera.workflows("Backend = 'test' AND WorkflowType = 'JobWorkflow'")
        camera.take("list", 640)
        camera.workflow(ids.backend_workflow_id(BACKEND), "User Metadata")
        camera.fill_in_signal(
            PAUSE.name, '{"on": true, "by": "ada", "why": "disk is being replaced"}'
        )
        camera.take("signal", 860)
        camera.send_signal()
        eventually(lambda: _is_paused(system), "the backend is paused as the Web UI ordered")


def _is_paused(system: LiveSystem) -> bool:
    (backend,) = system.request("GET", "backend/status/").json()["backends"]
    return bool(backend["paused"]["status"] == "on")


if __name__ == "__main__":
    main()
