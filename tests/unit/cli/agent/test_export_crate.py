"""``rap agent export-crate``: what it prints, and how it ends."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import run_app
from tests.support.command_line import alone
from tests.support.shelf import MODERATE, Shelf, sha256

pytestmark = pytest.mark.unit


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "backend")
    with alone(tmp_path, monkeypatch):
        os.environ |= {
            "BACKEND": "test",
            "WORKDIR": str(made.settings.workdir),
            "HIGH_PRIVACY_STORAGE_BASE": str(made.settings.high_privacy),
            "MEDIUM_PRIVACY_STORAGE_BASE": str(made.settings.medium_privacy),
        }
        yield made


def test_it_says_what_was_written_and_what_was_left_out_and_why(
    shelf: Shelf, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shelf.file("one", {"a.csv": b"a", "b.csv": b"b", "c.csv": b"c"}, level=MODERATE)
    shelf.file("two", {"secret.csv": b"s"})
    shelf.file("old", {"old.csv": b"old"}, with_record=False)
    (shelf.storage.medium("ws") / "a.csv").write_bytes(b"changed")
    (shelf.storage.medium("ws") / "b.csv").unlink()
    changed = (
        "was changed since its job filed it, so the crate has its hash alone: filed "
        f"{sha256(b'a')}, found {sha256(b'changed')}."
    )
    code = run_app(["agent", "export-crate", "ws", "--level4", "crate", "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert err.splitlines() == [
        "Job old has no record of provenance; the crate says nothing of it.",
        f"a.csv {changed}",
        f"b.csv is not in the workspace any more; the crate has its hash ({sha256(b'b')}).",
        f"{tmp_path / 'crate'}: 2 jobs, 1 file whole, 3 by hash.",
    ]
    document = json.loads(out)
    assert document["jobs"] == ["one", "two"]
    assert (document["whole"], document["by_hash"]) == (1, 3)
    assert document["without_record"] == ["old"]
    assert [each["why"] for each in document["left_out"]] == ["changed", "gone"]
    assert document["identifier"].startswith("urn:uuid:")


def test_what_is_not_known_ends_with_1_and_a_sentence(
    shelf: Shelf, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["agent", "export-crate", "nothing", "--all", "crate"]) == 1
    assert capfd.readouterr().err == (
        "Neither a RAP nor a workspace of this backend is called nothing.\n"
    )


@pytest.mark.parametrize("flags", [[], ["--level4", "--all"]])
def test_for_whom_it_is_must_be_said(
    shelf: Shelf, capfd: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert run_app(["agent", "export-crate", "ws", *flags, "crate"]) == 2
    assert "give one of --level4 and --all" in capfd.readouterr().err
