"""A RAP as a research object: the musts of the profiles, what may leave, reading it back."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import bagit
import pytest
from rocrate.rocrate import ROCrate

from tests.support import crate_validator
from tests.support.factories import COMMIT
from tests.support.shelf import DIGEST, MODERATE, Shelf, record, study
from worker_agent.crate.contents import Audience
from worker_agent.crate.export import export
from worker_agent.workspace.provenance import InputFile, ProvenanceRecord

pytestmark = pytest.mark.unit

WORKFLOW = f"workflow/{COMMIT[:12]}/"
TABLE = "run/outputs/output/table.csv"


class Crate(NamedTuple):
    """A crate as JSON: its entities by their identifiers."""

    folder: Path
    entities: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, folder: Path) -> "Crate":
        document = json.loads((folder / "ro-crate-metadata.json").read_text())
        return cls(folder, {each["@id"]: each for each in document["@graph"]})

    @property
    def root(self) -> dict[str, Any]:
        return self.entities["./"]

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.entities.values() if kind in as_list(each["@type"])]

    def to(self, entity: dict[str, Any], name: str) -> list[dict[str, Any]]:
        """The entities that a property refers to."""
        return [self.entities[each["@id"]] for each in as_list(entity.get(name, []))]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.fixture(scope="module")
def records(shelf: Shelf) -> dict[str, ProvenanceRecord]:
    return study(shelf)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("backend"))


@pytest.fixture(scope="module")
def exported(shelf: Shelf, records: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crates") / "crate"
    export(shelf.settings, "rap1", Audience.REVIEWERS, folder)
    return folder


@pytest.fixture(scope="module")
def inside(shelf: Shelf, records: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inside") / "crate"
    export(shelf.settings, "rap1", Audience.INSIDE, folder)
    return folder


@pytest.fixture(scope="module")
def crate(exported: Path) -> Crate:
    return Crate.of(exported / "data")


@pytest.fixture(scope="module")
def run(exported: Path) -> Crate:
    return Crate.of(exported / "data" / "run")


def main_run(crate: Crate) -> dict[str, Any]:
    (action,) = crate.all_of("CreateAction")
    return action


def is_in(crate: Crate, name: str, entities: list[dict[str, Any]]) -> bool:
    there = {each["@id"] for each in as_list(crate.root[name])}
    return bool(entities) and there >= {each["@id"] for each in entities}


def checks(crate: Crate) -> list[dict[str, Any]]:
    return crate.all_of("AssessAction")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


MUSTS: dict[str, Callable[[Crate], bool]] = {
    "it is a bag of BagIt 1.0": lambda crate: (
        (crate.folder.parent / "bagit.txt").read_text().startswith("BagIt-Version: 1.0\n")
    ),
    "the bag has a manifest of SHA-512": lambda crate: (
        (crate.folder.parent / "manifest-sha512.txt").is_file()
        and (crate.folder.parent / "tagmanifest-sha512.txt").is_file()
    ),
    "the bag is named by a URN": lambda crate: (
        "External-Identifier: urn:uuid:" in (crate.folder.parent / "bag-info.txt").read_text()
    ),
    "it is a crate of RO-Crate 1.2": lambda crate: (
        crate.entities["ro-crate-metadata.json"]["conformsTo"]["@id"]
        == "https://w3id.org/ro/crate/1.2"
    ),
    "no path leaves the payload": lambda crate: (
        not any(each.startswith(("../", "/", "file:")) or "/../" in each for each in crate.entities)
    ),
    "it says which profile it follows": lambda crate: (
        crate.root["conformsTo"]["@id"] == "https://w3id.org/5s-crate/0.4"
    ),
    "its main entity is a workflow crate": lambda crate: (
        crate.to(crate.root, "mainEntity")[0]["@type"] == "Dataset"
        and (crate.folder / crate.root["mainEntity"]["@id"] / "ro-crate-metadata.json").is_file()
    ),
    "the run is mentioned, of that workflow": lambda crate: (
        is_in(crate, "mentions", [main_run(crate)])
        and main_run(crate)["instrument"] == crate.root["mainEntity"]
    ),
    "a person asked for it": lambda crate: (
        crate.to(main_run(crate), "agent")[0]["@type"] == "Person"
    ),
    "the person has an affiliation and a project": lambda crate: all(
        crate.to(each, "affiliation") and crate.to(each, "memberOf")
        for each in crate.all_of("Person")
    ),
    "the run has a status and times": lambda crate: (
        {"actionStatus", "startTime", "endTime"} <= main_run(crate).keys()
    ),
    "it comes from a project": lambda crate: (
        crate.to(crate.root, "sourceOrganization")[0]["@type"] == "Project"
    ),
    "each check can be read": lambda crate: all(len(each["name"]) > 10 for each in checks(crate)),
    "each check is mentioned": lambda crate: is_in(crate, "mentions", checks(crate)),
    "each check has status, agent, object, instrument and kind": lambda crate: all(
        {"actionStatus", "agent", "object", "instrument", "additionalType"} <= each.keys()
        for each in checks(crate)
    ),
    "each check that was made has a time": lambda crate: all(
        "endTime" in each or "Potential" in each["actionStatus"] for each in checks(crate)
    ),
    "a program that checks for a TRE names it": lambda crate: all(
        crate.to(agent, "provider")[0]["@type"] == "Organization"
        for each in checks(crate)
        for agent in crate.to(each, "agent")
        if agent["@type"] == "SoftwareApplication"
    ),
    "the review is still to come": lambda crate: crate.entities["#disclosure-review"][
        "actionStatus"
    ].endswith("PotentialActionStatus"),
    "what failed a check is not there": lambda crate: (
        not any(
            (crate.folder / each["@id"]).exists() and each["@id"] != "./"
            for check in checks(crate)
            if check["actionStatus"].endswith("FailedActionStatus")
            for each in as_list(check["object"])
        )
    ),
    "what stays has a permission and no name": lambda crate: all(
        each["@id"].startswith("urn:uuid:")
        and each["name"] == f"File {each['@id'].removeprefix('urn:uuid:')}"
        and crate.to(crate.to(each, "hasDigitalDocumentPermission")[0], "grantee")
        for each in crate.all_of("DigitalDocument")
        if "sha256" in each
    ),
    "it has all results": lambda crate: is_in(
        crate, "hasPart", crate.to(main_run(crate), "result")
    ),
    "it has a publisher, a date and conditions": lambda crate: (
        {"publisher", "datePublished", "license"} <= crate.root.keys()
    ),
}


@pytest.mark.parametrize("must", MUSTS)
def test_it_fulfils_the_five_safes_profile(crate: Crate, must: str) -> None:
    assert MUSTS[must](crate)


def test_validators_accept_all_three_crates_and_find_what_another_lacks(
    exported: Path, tmp_path: Path
) -> None:
    data, lacking = exported / "data", tmp_path / "lacking"
    document = json.loads((data / "run/ro-crate-metadata.json").read_text())
    for each in document["@graph"]:
        if each["@type"] == "ControlAction":
            del each["instrument"]
    shutil.copytree(data / "run", lacking)
    (lacking / "ro-crate-metadata.json").write_text(json.dumps(document))

    *accepted, found = crate_validator.faults(
        (data, "ro-crate-1.2"),
        (data / "run", "provenance-run-crate-0.5"),
        (data / WORKFLOW, "workflow-ro-crate-1.0"),
        (lacking, "provenance-run-crate-0.5"),
    )
    assert accepted == [[], [], []]
    assert len(found) == 4
    assert "via instrument" in found[0]


@pytest.mark.nightly
def test_validators_accept_crates_of_everything_and_of_workspaces(
    inside: Path, tmp_path: Path
) -> None:
    shelf = Shelf(tmp_path)
    two_raps(shelf)
    export(shelf.settings, "ws", Audience.REVIEWERS, tmp_path / "crate")
    crates = [
        (folder / place, profile)
        for folder in (inside / "data", tmp_path / "crate" / "data")
        for place, profile in ((".", "ro-crate-1.2"), ("run", "provenance-run-crate-0.5"))
    ]
    assert crate_validator.faults(*crates) == [[], [], [], []]


@pytest.mark.parametrize("which", ["exported", "inside"])
def test_the_bag_is_whole_and_all_crates_can_be_read_back(
    which: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(which)
    bagit.Bag(str(folder)).validate()
    for crate in (".", "run", WORKFLOW):
        read = ROCrate(folder / "data" / crate)
        assert read.mainEntity.id in {each.id for each in read.get_entities()}
        assert read.root_dataset["name"]


def test_of_what_may_not_leave_there_is_nothing_in_a_crate_for_reviewers(exported: Path) -> None:
    content = b"".join(
        path.read_bytes() + str(path.relative_to(exported)).encode()
        for path in exported.rglob("*")
        if path.is_file()
    )
    for canary in (b"canaryname", b"canarytext", b"canaryreason"):
        assert canary not in content
    assert b"table.csv" in content


def test_what_is_whole_is_the_file_of_level_4_and_all_else_has_size_and_hash(
    crate: Crate, records: dict[str, ProvenanceRecord]
) -> None:
    table = records["table"].outputs[0]
    assert digest(crate.folder / TABLE) == table.sha256 == crate.entities[TABLE]["sha256"]
    files = {path for path in crate.folder.rglob("*") if path.is_file()}
    assert {path.parent.name for path in files} == {"data", "run", "output", COMMIT[:12]}
    told = {each["sha256"]: each["contentSize"] for each in crate.all_of("DigitalDocument")[1:]}
    filed = {each.sha256: str(each.size) for one in records.values() for each in one.outputs}
    del filed[table.sha256]
    documents = [each for each in crate.all_of("DigitalDocument") if "sha256" in each]
    assert {each["sha256"]: each["contentSize"] for each in documents} == filed
    assert told.items() <= filed.items()


def test_for_people_inside_everything_is_whole_and_has_its_name(
    inside: Path, records: dict[str, ProvenanceRecord]
) -> None:
    for one in records.values():
        for each in one.outputs:
            assert digest(inside / "data/run/outputs" / each.name) == each.sha256
    crate = Crate.of(inside / "data")
    assert "Must not leave" in crate.to(crate.root, "license")[0]["description"]
    assert "must not leave" in (inside / "bag-info.txt").read_text()
    assert not inside.stat().st_mode & 0o077
    risks = crate.entities["#gate-risks-0"]
    assert "File has canaryreason column" in risks["name"]
    run = Crate.of(inside / "data/run")
    tools = {each["name"].split()[0]: each for each in run.all_of("SoftwareApplication")}
    assert "canaryname-*.csv (highly_sensitive)" in tools["generate_dataset"]["description"]
    assert "canaryname-patients.csv" in (run.folder / run.root["mainEntity"]["@id"]).read_text()


def test_each_job_reads_the_results_of_the_jobs_before_it(run: Crate) -> None:
    actions = {each.get("identifier"): each for each in run.all_of("CreateAction")}
    dataset, table = actions["generate"], actions["table"]
    assert table["object"] == dataset["result"]
    assert run.to(dataset, "object") == [run.entities["#database-generate"]]
    assert actions["risks"]["object"] == actions["model"]["result"]
    assert table["result"] == {"@id": "outputs/output/table.csv"}


def test_each_job_has_its_step_its_image_and_what_it_used(run: Crate) -> None:
    steps = {each["name"]: each for each in run.all_of("HowToStep")}
    assert [steps[name]["position"] for name in steps] == ["1", "2", "3", "4"]
    assert list(steps) == ["generate_dataset", "table", "model", "risks"]
    for control in run.all_of("ControlAction"):
        (step,), (job,) = run.to(control, "instrument"), run.to(control, "object")
        assert run.to(step, "workExample") == run.to(job, "instrument")
    table = run.entities["#job-table"]
    (image,) = run.to(table, "containerImage")
    assert (image["registry"], image["name"], image["tag"]) == (
        "ghcr.io",
        "opensafely-core/python",
        "v2",
    )
    assert f"sha256:{image['sha256']}" == DIGEST
    used = {each["name"]: each["value"] for each in run.to(table, "resourceUsage")}
    assert used == {"Memory, peak": "91.5", "Processor, mean": "87.0"}
    assert "resourceUsage" not in run.entities["#job-model"]


def test_the_verdict_of_the_gate_is_told_of_each_file_that_came_before_it(crate: Crate) -> None:
    table, risks = crate.entities["#gate-table-0"], crate.entities["#gate-risks-0"]
    assert table["actionStatus"].endswith("CompletedActionStatus")
    assert {"@id": TABLE} in table["object"]
    assert risks["actionStatus"].endswith("FailedActionStatus")
    assert risks["name"] == "Automatic check of output 1 of risks: kept from level 4"
    assert "#gate-model-0" not in crate.entities


def test_a_job_that_failed_and_inputs_that_nobody_could_compare_are_told(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    before = record("before", outputs=())
    failed = shelf.file(
        "failed",
        {"output/table.csv": b"1"},
        level=MODERATE,
        succeeded=False,
        exit_code=3,
        image="python:v2",
        image_digest=None,
        image_id=None,
        action_repo="https://github.com/opensafely-actions/plot",
        action_commit="f" * 40,
        level4_max_filesize=1000,
        level4_max_csv_rows=50,
        level4_file_types=(".csv",),
    )
    shelf.file("unmatched", {"output/other.csv": b"2"}, succeeded=False, reads=[before], image="")
    unverified = failed.model_copy(
        update={
            "job_id": "reader",
            "outputs": (),
            "inputs": (
                InputFile(
                    name="x",
                    job_id="old",
                    action="old",
                    size=1,
                    sha256="0" * 64,
                    verified=False,
                ),
            ),
            "succeeded": True,
        }
    )
    path = shelf.storage.high("ws") / "metadata/provenance/reader.json"
    path.write_text(json.dumps(unverified.model_dump(mode="json")))
    export(shelf.settings, "rap1", Audience.REVIEWERS, tmp_path / "crate")

    crate, run = Crate.of(tmp_path / "crate/data"), Crate.of(tmp_path / "crate/data/run")
    assert main_run(crate)["actionStatus"].endswith("FailedActionStatus")
    assert run.entities["#job-failed"]["error"] == "The program ended with exit code 3."
    unmatched = run.entities["#job-unmatched"]
    assert unmatched["error"].startswith("Not all outputs")
    assert "containerImage" not in unmatched
    (tool,) = [
        each for each in run.all_of("SoftwareApplication") if each["name"].startswith("failed")
    ]
    assert (tool["url"], tool["version"]) == (
        "https://github.com/opensafely-actions/plot",
        "f" * 40,
    )
    inputs = crate.entities["#inputs-reader"]
    assert inputs["name"].endswith("1 without a hash on record")
    assert inputs["actionStatus"].endswith("PotentialActionStatus")
    policy = crate.to(crate.entities["#gate-failed-0"], "instrument")[0]["description"]
    assert policy.startswith(
        "Files of at most 1000 bytes. Tables of at most 50 rows. Types of file: .csv."
    )


def two_raps(shelf: Shelf) -> None:
    """At two commits, for two projects; the second reads what the first made."""
    dataset = shelf.file("one", {"d.csv": b"1"}, rap_id="rap1", commit="1" * 40)
    shelf.file("two", {"t.csv": b"2"}, rap_id="rap2", commit="2" * 40, reads=[dataset], project="p")


def test_a_workspace_of_several_raps_has_a_run_and_a_workflow_for_each(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    two_raps(shelf)
    export(shelf.settings, "ws", Audience.REVIEWERS, tmp_path / "crate")

    crate, run = Crate.of(tmp_path / "crate/data"), Crate.of(tmp_path / "crate/data/run")
    assert crate.root["name"] == "Workspace ws"
    assert crate.root["mainEntity"]["@id"] == f"workflow/{'2' * 12}/"
    assert len(crate.root["sourceOrganization"]) == 2
    by_rap = {each["identifier"]: each for each in crate.all_of("CreateAction")}
    assert by_rap["rap2"]["object"] == by_rap["rap1"]["result"]
    assert len(run.all_of("ComputationalWorkflow")) == 2
