"""The words that both crates use."""

from uuid import UUID

import pytest

from tests.support.shelf import HIGH, MODERATE, record
from worker_agent.crate import entities, workflow_crate
from worker_agent.crate.contents import Audience, Key, Part, Stays
from worker_agent.crate.entities import Names, payload_paths

pytestmark = pytest.mark.unit

ONE, OTHER = UUID(int=1), UUID(int=2)


def part(name: str, stays: Stays | None = None) -> Part:
    return Part(Key("job1", name), 1, "0" * 64, HIGH if stays else MODERATE, stays=stays)


def names(secret: UUID = ONE, **paths: str) -> Names:
    return Names(
        secret, Audience.REVIEWERS, {Key("job1", name): path for name, path in paths.items()}
    )


def test_what_stays_is_named_by_a_hash_that_nobody_outside_can_try_names_against() -> None:
    stays = part("patients.csv", Stays.SENSITIVE)
    assert names().of(stays) == names().of(stays)
    assert names().of(stays) != names(OTHER).of(stays)
    assert names().of(stays).startswith("urn:uuid:")
    assert "patients" not in names().of(stays)


def test_what_is_whole_is_named_by_its_place() -> None:
    assert names(table="a b/tablé.csv").of(part("table")) == "outputs/a%20b/tabl%C3%A9.csv"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("output/a.csv", "output/a.csv"),
        ("output/été.csv", "output/été.csv"),
        ("output/50%0A.csv", "_renamed/0/output/50_0A.csv"),
        ("output/two\nlines.csv", "_renamed/0/output/two_lines.csv"),
        ("_renamed/0/a.csv", "_renamed/0/_renamed/0/a.csv"),
    ],
)
def test_a_name_that_manifests_of_bags_write_in_two_ways_gets_another_place(
    name: str, path: str
) -> None:
    assert payload_paths([part(name)]) == {Key("job1", name): path}


def test_two_jobs_of_a_person_are_one_person_in_all_their_organisations() -> None:
    made = entities.people(
        [record(orgs=("x", "y"), project="p"), record(orgs=("x", "z"), project="q")]
    )
    assert made["#person-alice"]["affiliation"] == entities.refs(
        ["#organisation-x", "#organisation-y", "#organisation-z"]
    )
    assert made["#person-alice"]["memberOf"] == entities.refs(["#project-p", "#project-q"])
    assert made["#project-p"]["member"] == entities.refs(["#organisation-x", "#organisation-y"])


def test_nobody_and_no_project_on_record_are_said_to_be_that() -> None:
    made = entities.people([record(user=None, project="", orgs=())])
    assert made["#person-unknown"]["name"] == made["#project-unknown"]["name"] == "Not on record"


def test_a_project_file_is_found_by_its_commit_where_others_can_read_it() -> None:
    public = record(repo="https://github.com/opensafely/study.git", commit="c" * 40)
    assert entities.project_file(public) == (
        f"https://github.com/opensafely/study/blob/{'c' * 40}/project.yaml"
    )
    folder = record(repo="/home/alice/secret-place/study")
    assert entities.project_file(folder) is None
    (file, _) = workflow_crate.workflow(folder, kinds=["File"])
    assert "secret-place" not in str(file)
    assert file["name"] == "Actions of study that ran"
