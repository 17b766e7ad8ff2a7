"""Schemathesis against the real processes, from the OpenAPI document that they serve.

The usual run takes some seconds; ``--hypothesis-profile nightly`` tries 500 examples of each
operation and as many sequences of calls.
"""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import settings

from api.openapi import DOCUMENT
from tests.support.live_system import BASE, make_study, write
from tests.support.quick_system import QuickSystem

pytestmark = pytest.mark.workflows

HERE = Path(__file__).parent
EXAMPLES = {"default": 40, "nightly": 500}
DECLARED = {
    f"{operation['operationId']} {code}"
    for operations in DOCUMENT["paths"].values()
    for operation in operations.values()
    for code in operation["responses"]
}
RARE = {"rap_cancel 200"}
"""Answers that a run may miss: it must guess the sequence of calls that leads to them."""


@pytest.mark.spec("rap-api:2", "rap-api:19", "rap-api:20")
def test_schemathesis_finds_nothing(quick_system: QuickSystem, tmp_path: Path) -> None:
    study = make_study(
        tmp_path / "study", {"first": write("first"), "second": write("second", needs=["first"])}
    )
    met = tmp_path / "met"
    examples = EXAMPLES.get(settings.get_current_profile_name(), EXAMPLES["default"])
    found = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={HERE / 'schemathesis.toml'}",
            "run",
            f"{quick_system.api_url}{BASE}/spec.json",
            "--checks=all",
            "--phases=examples,coverage,fuzzing,stateful",
            f"--max-examples={examples}",
            "--no-color",
        ],
        env={
            **os.environ,
            "API_TOKEN": quick_system.token,
            "STUDY_URL": study.url,
            "STUDY_COMMIT": study.commit,
            "MET_ANSWERS": str(met),
        },
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert set(met.read_text().splitlines()) >= DECLARED - RARE, found.stdout


def test_the_api_serves_what_it_served_before(quick_system: QuickSystem) -> None:
    """None of all that has broken it."""
    quick_system.stack.raise_if_ended()
    assert httpx.get(quick_system.api_url).json() == {"method": "GET"}
    assert quick_system.request("GET", "backend/status/").status_code == 200
    assert "Traceback" not in quick_system.log("api")
