"""A file has the level that its maker gave it, whatever patterns cover it."""

import json
from pathlib import Path

import pytest

from rap.sentences import SUCCEEDED_WITH_EXCLUDED_FILES
from tests.support.git_server import StudyRepo
from tests.support.live_system import LiveSystem, Study

pytestmark = pytest.mark.e2e

CASE = Path(__file__).parents[1] / "cases/jobs/glob-lowers-level"


def test_a_wildcard_does_not_publish_an_input_that_its_maker_declared_stricter(
    system: LiveSystem, tmp_path: Path
) -> None:
    repo = StudyRepo(tmp_path / "study")
    project = (CASE / "project.yaml").read_text()
    commit = repo.commit({"project.yaml": project, "output/lookup.csv": "code,text\n"})
    rap = system.run(Study(repo.url, commit), "b")
    job = rap.wait_until_over()["b"]
    assert (job["status"], job["status_message"]) == ("succeeded", SUCCEEDED_WITH_EXCLUDED_FILES)
    high, medium = (
        area / "workspaces" / rap.workspace for area in (system.high_privacy, system.medium_privacy)
    )
    shown = {path.name for path in (medium / "output").iterdir()}
    assert shown == {"input.csv.txt", "table.csv", "lookup.csv"}
    assert "a, which declares it as highly_sensitive" in (
        (medium / "output/input.csv.txt").read_text()
    )
    entry = json.loads((medium / "metadata/manifest.json").read_text())["outputs"][
        "output/input.csv"
    ]
    assert (entry["level"], entry["excluded"]) == ("moderately_sensitive", True)
    log = (medium / "metadata/b.log").read_text()
    assert f"output/input.csv  - {entry['message']}" in log
    assert "output/lookup.csv  - it comes from the repository" in log
    record = json.loads((high / f"metadata/provenance/{rap.job_id('b')}.json").read_text())
    (found,) = [file for file in record["outputs"] if file["name"] == "output/input.csv"]
    assert (found["level"], found["made_by"]) == ("highly_sensitive", rap.job_id("a"))
    assert [file["name"] for file in record["inputs"]] == ["output/input.csv"]
    assert not (medium / "metadata/provenance").exists()
