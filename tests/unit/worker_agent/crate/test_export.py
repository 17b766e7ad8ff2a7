"""What export refuses, and what it says of files that are not as they were filed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rap.egress import Fault
from rap.errors import PermanentFault, RapError
from tests.support.shelf import HIGH, MODERATE, Shelf, put, sha256
from worker_agent.crate import bag, payload
from worker_agent.crate.contents import Audience, Stays
from worker_agent.crate.export import Exported, export
from worker_agent.workspace import copying, filing, manifest, provenance
from worker_agent.workspace.storage import METADATA_FILE

pytestmark = pytest.mark.unit


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    made = Shelf(tmp_path / "backend")
    made.file("one", {"output/a.csv": b"a"}, level=MODERATE)
    made.file("two", {"output/b.csv": b"b"}, level=MODERATE)
    return made


@pytest.fixture
def exporting(shelf: Shelf, tmp_path: Path) -> Callable[..., Exported]:
    def run(what: str = "rap1", folder: Path = tmp_path / "crate", **options: Any) -> Exported:
        return export(shelf.settings, what, Audience.REVIEWERS, folder, **options)

    return run


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("backend/high/crate", r"is within the backend's own storage \(HIGH_PRIVACY_STORAGE_BASE"),
        ("backend/medium/workspaces/ws/crate", r"storage \(MEDIUM_PRIVACY_STORAGE_BASE"),
        ("backend/workdir/crate", r"storage \(WORKDIR"),
        ("link/crate", r"storage \(HIGH_PRIVACY_STORAGE_BASE"),
        ("missing/crate", "is not a folder: make it first"),
        ("full", "is there already"),
        ("file", "is there already"),
    ],
)
def test_a_folder_that_cannot_be_one_for_a_crate_is_refused(
    exporting: Callable[..., Exported], tmp_path: Path, place: str, sentence: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "backend" / "high")
    put(tmp_path / "full" / "a", b"")
    put(tmp_path / "file", b"")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RapError, match=sentence):
        exporting(folder=tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_used(exporting: Callable[..., Exported], tmp_path: Path) -> None:
    (tmp_path / "crate").mkdir()
    assert exporting().folder == tmp_path / "crate"
    assert (tmp_path / "crate" / "bagit.txt").is_file()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_it_nothing_is_left(
    exporting: Callable[..., Exported], tmp_path: Path, error: type[BaseException]
) -> None:
    def progress(done: int, of: int) -> None:
        if done == 1:
            raise error

    with pytest.raises(error):
        exporting(progress=progress)
    assert [path.name for path in tmp_path.iterdir()] == ["backend"]


def test_files_that_do_not_fit_are_refused_before_any_is_copied(
    exporting: Callable[..., Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag, "RESERVE", 2**60)
    with pytest.raises(RapError, match=r"The files of the crate take 0 MB, and .* has 0 MB"):
        exporting()
    assert [path.name for path in tmp_path.iterdir()] == ["backend"]


def test_a_disk_that_is_full_meanwhile_is_said_and_nothing_is_left(
    exporting: Callable[..., Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(bag, "make", full)
    with pytest.raises(RapError, match="cannot be written: No space left on device"):
        exporting()
    assert [path.name for path in tmp_path.iterdir()] == ["backend"]


def test_another_error_of_the_disk_is_not_hidden(
    exporting: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(bag, "make", broken)
    with pytest.raises(OSError, match="Input/output error"):
        exporting()


def test_what_is_not_known_is_said_in_a_sentence(exporting: Callable[..., Exported]) -> None:
    with pytest.raises(RapError, match="Neither a RAP nor a workspace of this backend is called x"):
        exporting("x")


def test_a_backend_without_any_workspace_says_the_same(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for folder in ("high", "medium"):
        (tmp_path / folder).rename(tmp_path / f"{folder}-away")
    with pytest.raises(RapError, match="Neither a RAP nor a workspace"):
        export(shelf.settings, "ws", Audience.REVIEWERS, tmp_path / "crate")


def test_jobs_of_an_earlier_version_are_named_and_the_rest_is_exported(
    shelf: Shelf, exporting: Callable[..., Exported], tmp_path: Path
) -> None:
    shelf.file("old", {"output/old.csv": b"old"}, with_record=False)
    shelf.metadata("old", job_definition_rap_id="rap1", outputs={"output/old.csv": HIGH})
    shelf.metadata("one", job_definition_rap_id="rap1")
    put(shelf.storage.logs / "2026-01" / "os-job-broken" / "metadata.json", b"{")
    for number, what in enumerate(("rap1", "ws")):
        made = exporting(what, tmp_path / str(number))
        assert made.without_record == ("old",)
        assert [job.record.job_id for job in made.contents.jobs] == ["one", "two"]
        assert made.contents.latest.succeeded


def test_a_rap_or_workspace_of_an_earlier_version_alone_is_said_to_be_that(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "backend")
    shelf.file("old", {"a.csv": b"old"}, with_record=False)
    shelf.metadata("old", job_definition_rap_id="rap0")
    for what in ("rap0", "ws"):
        with pytest.raises(RapError, match=f"No job of (RAP|workspace) {what} has a record"):
            export(shelf.settings, what, Audience.REVIEWERS, tmp_path / "crate")


def test_a_rap_with_a_job_that_was_cancelled_did_not_succeed(
    shelf: Shelf, exporting: Callable[..., Exported]
) -> None:
    shelf.metadata("three", job_definition_rap_id="rap1", cancelled=True)
    made = exporting()
    assert not made.contents.latest.succeeded
    assert made.without_record == ()


def test_a_manifest_that_is_damaged_is_said(
    shelf: Shelf, exporting: Callable[..., Exported]
) -> None:
    manifest.path_of(shelf.storage, "ws").write_text("{")
    with pytest.raises(RapError, match="The manifest of ws cannot be read"):
        exporting()


def test_a_file_changed_by_hand_is_told_with_both_hashes_and_kept_by_its_own(
    shelf: Shelf, exporting: Callable[..., Exported]
) -> None:
    (shelf.storage.medium("ws") / "output/a.csv").write_bytes(b"changed")
    made = exporting()
    (left,) = made.left_out
    assert left == ("output/a.csv", Stays.CHANGED, sha256(b"a"), sha256(b"changed"))
    everything = b"".join(p.read_bytes() for p in made.folder.rglob("*") if p.is_file())
    assert b"output/b.csv" in everything
    assert b"output/a.csv" not in everything
    assert sha256(b"a").encode() in everything
    assert sha256(b"changed").encode() not in everything


@pytest.mark.parametrize("instead", ["nothing", "link"])
def test_a_file_that_is_gone_or_a_link_is_told_and_no_link_is_followed(
    shelf: Shelf, exporting: Callable[..., Exported], tmp_path: Path, instead: str
) -> None:
    path = shelf.storage.medium("ws") / "output/a.csv"
    path.unlink()
    if instead == "link":
        put(tmp_path / "elsewhere", b"a")
        path.symlink_to(tmp_path / "elsewhere")
    (left,) = exporting().left_out
    assert (left.stays, left.found) == (Stays.GONE, None)


@pytest.mark.parametrize("how", ["filed-anew", "filed-and-read-anew"])
def test_a_file_that_another_job_files_meanwhile_is_not_taken_for_changed(
    shelf: Shelf, exporting: Callable[..., Exported], how: str
) -> None:
    def progress(done: int, of: int) -> None:
        if done == 0:
            content = b"later" if how == "filed-anew" else b"a"
            shelf.file("three", {"output/a.csv": content}, level=MODERATE, rap_id="rap2")

    made = exporting(progress=progress)
    assert [each.stays for each in made.left_out] == (
        [Stays.REPLACED] if how == "filed-anew" else []
    )


def test_a_file_that_is_whole_at_the_second_look_is_taken(
    shelf: Shelf, exporting: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    once = [True]
    real = copying.copy_open_file

    def changing(source: int, folder: int, name: str, **options: Any) -> Any:
        copied = real(source, folder, name, **options)
        return copied._replace(sha256="0" * 64) if once and once.pop() else copied

    monkeypatch.setattr(payload, "copy_open_file", changing)
    made = exporting()
    assert made.left_out == ()
    assert len(made.contents.whole) == 2


def test_a_file_that_never_stands_still_is_told(
    shelf: Shelf, exporting: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(*_: object, **__: object) -> Any:
        raise PermanentFault(Fault.OUTPUTS_REFUSED, "changed while it was being copied")

    monkeypatch.setattr(payload, "copy_open_file", changing)
    assert {each.stays for each in exporting().left_out} == {Stays.CHANGED}


def test_a_damaged_record_counts_as_none(shelf: Shelf, exporting: Callable[..., Exported]) -> None:
    provenance.path_of(shelf.storage, "ws", "one").write_text("{")
    assert exporting("ws").without_record == ("one",)


def test_a_filing_that_was_broken_off_is_finished_before_anything_is_called_changed(
    shelf: Shelf, exporting: Callable[..., Exported]
) -> None:
    before = manifest.path_of(shelf.storage, "ws").read_bytes()
    shelf.file("three", {"output/a.csv": b"later"}, level=MODERATE, rap_id="rap2")
    path = manifest.path_of(shelf.storage, "ws")
    high, medium = shelf.storage.staging("three-001")
    put(medium / "manifest", path.read_bytes())
    put(high / METADATA_FILE, b"{}")
    path.write_bytes(before)
    intent = filing.Intent(
        workspace="ws",
        papers=(filing.Move(filing.Area.MEDIUM, "manifest", "metadata/manifest.json"),),
        record="2026-01/os-job-three/metadata.json",
    )
    put(high / filing.INTENT, intent.model_dump_json().encode())

    (left,) = exporting().left_out
    assert left.stays is Stays.REPLACED
    assert not filing.is_begun_in(shelf.storage, "ws")
