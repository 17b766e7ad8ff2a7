"""The demo study's RAP as a research object: exported, validated, opened."""

import json
from pathlib import Path

import bagit
import pytest
from rocrate.rocrate import ROCrate

from infra.demo import ACTIONS, KEPT_BACK, RELEASED, STUDY
from tests.e2e.test_agent_commands import rap_agent
from tests.support import crate_validator
from tests.support.git_server import StudyRepo
from tests.support.live_system import LiveSystem, Study

pytestmark = pytest.mark.e2e

STAYS = ("dataset.csv", "rates_female", "rates_male", "rates.csv", "predictions.csv", KEPT_BACK)


def test_the_rap_of_the_demo_study_is_exported_validated_and_opened(
    system: LiveSystem, tmp_path: Path
) -> None:
    repo = StudyRepo(tmp_path / "study")
    files = {path.relative_to(STUDY).as_posix(): path for path in STUDY.rglob("*")}
    content = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    rap = system.run(Study(repo.url, repo.commit(content)), project="asthma", orgs=["university"])
    assert {job["status"] for job in rap.wait_until_over(limit=300).values()} == {"succeeded"}

    done = rap_agent(system, "export-crate", rap.rap_id, "--level4", str(tmp_path / "crate"))
    assert done.returncode == 0, done.stderr
    assert f"{ACTIONS} jobs, {len(RELEASED)} files whole" in done.stdout + done.stderr

    bagit.Bag(str(tmp_path / "crate")).validate()
    data = tmp_path / "crate" / "data"
    outputs = data / "run" / "outputs"
    assert sorted(RELEASED) == sorted(
        path.relative_to(outputs).as_posix() for path in outputs.rglob("*") if path.is_file()
    )
    told = "".join(path.read_text() for path in data.rglob("ro-crate-metadata.json"))
    assert [name for name in STAYS if name in told] == []
    assert crate_validator.faults(
        (data, "ro-crate-1.2"), (data / "run", "provenance-run-crate-0.5")
    ) == [[], []]

    crate = ROCrate(data / "run")
    (run,) = [each for each in crate.get_entities() if each.get("identifier") == rap.rap_id]
    assert {each.id for each in run["result"]} >= {f"outputs/{name}" for name in RELEASED}
    table = crate.get(f"#job-{rap.job_id('rates_table')}")
    rates = crate.get(f"#job-{rap.job_id('combine_rates')}")
    assert table["object"] == rates["result"]
    assert json.loads((data / "ro-crate-metadata.json").read_text())
