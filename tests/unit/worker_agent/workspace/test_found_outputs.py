"""A pattern that covers what the job only found: it keeps the level that its maker gave it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rap.egress import Ending, JobOutcome
from rap.models import JobDefinition, PrivacyLevel
from tests.support.workspace import HIGH, MODERATE, Backend
from worker_agent.workspace import manifest_repair, provenance, safe_paths, untouched
from worker_agent.workspace.found_outputs import decide
from worker_agent.workspace.provenance import InputFile

pytestmark = pytest.mark.unit

MINIMAL = PrivacyLevel.MINIMALLY_SENSITIVE
INPUT = "output/input.csv"
TABLE = "output/table.csv"
REASON = "File was made by a as highly_sensitive and not changed"


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def read_from(job: JobDefinition, level: PrivacyLevel | None, name: str = INPUT) -> InputFile:
    return InputFile(
        name=name, job_id=job.id, action=job.action, size=4, sha256="0" * 64, level=level
    )


async def ran(
    backend: Backend,
    job: JobDefinition,
    found: Mapping[str, str],
    made: Mapping[str, str],
    inputs: tuple[InputFile, ...] = (),
) -> JobOutcome:
    """Finish a job that found some files in its volume, and made others."""
    volume = backend.fill_volume(job, found)
    with safe_paths.directory(volume) as opened:
        laid_out = untouched.laid_out(opened, job.output_spec)
    for name, text in made.items():
        (volume / name).unlink(missing_ok=True)
        (volume / name).parent.mkdir(parents=True, exist_ok=True)
        # Another inode than the one that was just given up.
        (volume / "other").write_text("")
        (volume / name).write_text(text)
    return await backend.finish(job, inputs=inputs, laid_out=laid_out)


async def made_by_a(backend: Backend, **changes: Any) -> JobDefinition:
    a = backend.job(id="joba", task_id="joba-001", action="a", output_spec={INPUT: HIGH}, **changes)
    await backend.finish(a, {INPUT: "x\n1\n"})
    return a


def b_of(backend: Backend, **changes: Any) -> JobDefinition:
    facts = {"id": "jobb", "task_id": "jobb-001", "action": "b"}
    return backend.job(**(facts | {"output_spec": {"output/*.csv": MODERATE}} | changes))


async def test_an_input_with_a_stricter_maker_is_not_published_by_a_wildcard(
    backend: Backend,
) -> None:
    a = await made_by_a(backend)
    b = b_of(backend)
    outcome = await ran(backend, b, {INPUT: "x\n1\n"}, {TABLE: "n\n1\n"}, (read_from(a, HIGH),))
    assert outcome.ending is Ending.COMPLETED
    assert not outcome.has_unmatched_patterns
    assert outcome.has_level4_excluded_files
    assert not (backend.medium / INPUT).exists()
    assert "a, which declares it as highly_sensitive" in (
        backend.medium / f"{INPUT}.txt"
    ).read_text().replace("\n", " ")
    assert (backend.medium / TABLE).read_text() == "n\n1\n"
    entry = backend.manifest()["outputs"][INPUT]
    assert (entry["level"], entry["excluded"], entry["message"]) == (
        "moderately_sensitive",
        True,
        REASON,
    )
    record = backend.metadata(b)
    assert record["outputs"] == {INPUT: "highly_sensitive", TABLE: "moderately_sensitive"}
    assert record["level4_excluded_files"] == {INPUT: REASON}
    log = (backend.medium / "metadata/b.log").read_text()
    assert f"\nInvalid moderately_sensitive outputs:\n  {INPUT}  - {REASON}\n" in log
    assert (
        "\nOutputs that the action did not change:\n"
        f"  {INPUT}  - it was made by a as highly_sensitive\n"
    ) in log
    explained = provenance.load(backend.storage, "ws", "jobb")
    assert explained is not None
    assert explained.succeeded
    found, made = explained.outputs
    assert (found.level, found.excluded, found.untouched, found.made_by) == (
        HIGH,
        True,
        True,
        "joba",
    )
    assert (made.level, made.excluded, made.untouched, made.made_by) == (
        MODERATE,
        False,
        False,
        None,
    )


async def test_the_note_stands_until_the_maker_runs_again(backend: Backend) -> None:
    a = await made_by_a(backend)
    await ran(backend, b_of(backend), {INPUT: "x\n1\n"}, {}, (read_from(a, HIGH),))
    again = backend.job(id="joba2", task_id="joba2-001", action="a", output_spec={INPUT: HIGH})
    await backend.finish(again, {INPUT: "x\n2\n"})
    assert not (backend.medium / "output").exists() or not list(
        (backend.medium / "output").iterdir()
    )
    entry = backend.manifest()["outputs"][INPUT]
    assert (entry["level"], entry["excluded"], entry["action"]) == ("highly_sensitive", False, "a")


async def test_one_that_only_passes_it_on_leaves_it_to_its_first_maker(backend: Backend) -> None:
    a = await made_by_a(backend)
    await ran(backend, b_of(backend), {INPUT: "x\n1\n"}, {}, (read_from(a, HIGH),))
    filed = provenance.load(backend.storage, "ws", "jobb")
    assert filed is not None
    passed_on = InputFile(
        name=INPUT, job_id="jobb", action="b", size=4, sha256="0" * 64, level=filed.outputs[0].level
    )
    c = backend.job(id="jobc", task_id="jobc-001", action="c", output_spec={"output/*": MODERATE})
    await ran(backend, c, {INPUT: "x\n1\n"}, {}, (passed_on,))
    assert backend.metadata(c)["level4_excluded_files"] == {INPUT: REASON}
    explained = provenance.load(backend.storage, "ws", "jobc")
    assert explained is not None
    assert explained.outputs[0].made_by == "joba"


async def test_an_input_that_was_written_anew_is_the_job_s_own(backend: Backend) -> None:
    a = await made_by_a(backend)
    b = b_of(backend)
    outcome = await ran(backend, b, {INPUT: "x\n1\n"}, {INPUT: "x\n1\n"}, (read_from(a, HIGH),))
    assert not outcome.has_level4_excluded_files
    assert (backend.medium / INPUT).read_text() == "x\n1\n"
    assert backend.metadata(b)["untouched_outputs"] == {}


async def test_a_file_of_the_repository_counts_and_is_told(backend: Backend) -> None:
    b = b_of(backend)
    outcome = await ran(backend, b, {INPUT: "x\n1\n", "other.txt": "no output"}, {})
    assert not outcome.has_unmatched_patterns
    assert (backend.medium / INPUT).exists()
    log = (backend.high / "metadata/b.log").read_text()
    assert (
        f"\nOutputs that the action did not change:\n  {INPUT}  - it comes from the repository\n"
    ) in log
    assert "other.txt" not in log


async def test_an_input_whose_level_is_not_known_is_taken_as_before_and_told(
    backend: Backend,
) -> None:
    a = await made_by_a(backend)
    b = b_of(backend)
    await ran(backend, b, {INPUT: "x\n1\n"}, {}, (read_from(a, None),))
    assert (backend.medium / INPUT).exists()
    assert backend.metadata(b)["untouched_outputs"] == {
        INPUT: "it was made by a, whose record does not tell its level"
    }


async def test_a_rebuilt_manifest_does_not_publish_it_either(backend: Backend) -> None:
    a = await made_by_a(backend)
    b = b_of(backend)
    labels = {"workspace": "ws", "action": "b"}
    await ran(backend, b, {INPUT: "x\n1\n"}, {}, (read_from(a, HIGH),))
    before = backend.manifest()["outputs"][INPUT]
    path = backend.log_dir(b) / "metadata.json"
    record = json.loads(path.read_text())
    record["container_metadata"]["Config"]["Labels"] = labels
    path.write_text(json.dumps(record))
    recorded = manifest_repair.recorded(path)
    assert recorded is not None
    entries, _ = manifest_repair.missing_entries(
        backend.storage,
        "ws",
        repo="r",
        wanted={INPUT: recorded},
        present=(),
        actions={"b"},
        current={"jobb"},
    )
    kept = ("level", "excluded", "message", "action", "job_id")
    assert {key: entries[INPUT][key] for key in kept} == {key: before[key] for key in kept}


async def test_nothing_of_a_record_of_provenance_is_at_level_4(backend: Backend) -> None:
    await made_by_a(backend)
    assert (backend.high / "metadata/provenance/joba.json").exists()
    assert not (backend.medium / "metadata/provenance").exists()
    assert "provenance" not in (backend.medium / "metadata/manifest.json").read_text()


@pytest.mark.parametrize(
    ("pattern", "maker", "level", "withheld"),
    [
        (MODERATE, HIGH, HIGH, True),
        (MINIMAL, HIGH, HIGH, False),
        (MINIMAL, MODERATE, MODERATE, False),
        (MODERATE, MODERATE, MODERATE, False),
        (HIGH, MODERATE, HIGH, False),
        (MODERATE, MINIMAL, MODERATE, False),
        (MODERATE, None, MODERATE, False),
    ],
)
def test_of_two_levels_the_stricter_one_holds(
    pattern: PrivacyLevel, maker: PrivacyLevel | None, level: PrivacyLevel, withheld: bool
) -> None:
    source = InputFile(name="a", job_id="j", action="a", size=1, sha256="0" * 64, level=maker)
    found = decide("a", pattern, source)
    assert (found.level, found.withheld is not None, found.made_by) == (level, withheld, "j")


@pytest.mark.parametrize("pattern", PrivacyLevel)
def test_what_is_from_the_repository_has_the_level_of_its_pattern(pattern: PrivacyLevel) -> None:
    found = decide("a", pattern, None)
    assert (found.level, found.withheld, found.made_by) == (pattern, None, None)
