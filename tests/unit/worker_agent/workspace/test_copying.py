"""Copies: whole or absent, of the bytes that were read, and never through a link."""

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from os import stat_result
from pathlib import Path
from typing import Any

import pytest

from rap.egress import Fault
from rap.errors import PermanentFault, TransientFault
from tests.support.workspace import tree
from worker_agent import atomic_files, disk
from worker_agent.workspace import copying, safe_paths
from worker_agent.workspace.copying import Copied

pytestmark = pytest.mark.unit


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"abc" * 1_000_000)
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def copy(source: Path, target: Path, name: str = "a.csv", to: str | None = None) -> Copied:
    with safe_paths.directory(source) as here, safe_paths.directory(target) as there:
        descriptor = safe_paths.open_file(here, name)
        try:
            return copying.copy_into(descriptor, there, to or name)
        finally:
            os.close(descriptor)


def test_a_copy_has_the_bytes_and_its_size_and_hash_are_theirs(source: Path, target: Path) -> None:
    copied = copy(source, target, to="deep/er/b.csv")
    content = (source / "a.csv").read_bytes()
    assert (target / "deep/er/b.csv").read_bytes() == content
    assert copied == (len(content), hashlib.sha256(content).hexdigest())
    assert tree(target) == {"deep/er/b.csv"}


@pytest.mark.spec("agent:129")
def test_a_link_at_the_destination_is_replaced_and_not_followed(
    source: Path, target: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (target / "a.csv").symlink_to(victim)
    copy(source, target)
    assert victim.read_text() == "untouched"
    assert not (target / "a.csv").is_symlink()
    assert (target / "a.csv").read_bytes() == (source / "a.csv").read_bytes()


def test_a_link_on_the_way_to_the_destination_is_not_followed(
    source: Path, target: Path, tmp_path: Path
) -> None:
    (target / "out").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        copy(source, target, to="out/a.csv")
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "", "a//b", ".", "a/.", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(source: Path, target: Path, name: str) -> None:
    with pytest.raises(safe_paths.UnsafeName):
        copy(source, target, to=name or "/")
    with safe_paths.directory(source) as here, pytest.raises(safe_paths.UnsafeName):
        safe_paths.open_file(here, name)


def test_only_ordinary_files_are_opened(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "link").symlink_to("a.csv")
    os.mkfifo(source / "pipe")
    (source / "folder").mkdir()
    (source / "way").symlink_to(source)
    monkeypatch.chdir(source)
    with socket.socket(socket.AF_UNIX) as listening, safe_paths.directory(source) as here:
        listening.bind("socket")
        for name in ("link", "pipe", "folder", "socket"):
            with pytest.raises(
                safe_paths.NotARegularFile, match=f"^{name} is not an ordinary file$"
            ):
                safe_paths.open_file(here, name)
        with pytest.raises(NotADirectoryError):
            safe_paths.open_file(here, "way/a.csv")


def test_permissions_are_kept_but_a_copy_never_runs_as_somebody_else(
    source: Path, target: Path
) -> None:
    (source / "a.csv").chmod(0o4741)
    before = os.umask(0o022)
    try:
        copy(source, target)
    finally:
        os.umask(before)
    assert (target / "a.csv").stat().st_mode & 0o7777 == 0o741


def test_a_file_that_changes_while_it_is_copied_is_refused(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.read, []

    def read(descriptor: int, count: int) -> bytes:
        calls.append(count)
        if len(calls) == 2:
            with (source / "a.csv").open("ab") as file:
                file.write(b"more")
        return real(descriptor, count)

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(PermanentFault, match=r"a\.csv was changed while") as caught:
        copy(source, target, to="a.csv")
    assert caught.value.fault is Fault.OUTPUTS_REFUSED
    assert tree(target) == set()


def test_a_file_rewritten_with_the_same_size_while_it_is_copied_is_refused(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.read, []

    def read(descriptor: int, count: int) -> bytes:
        calls.append(count)
        if len(calls) == 2:
            os.utime(source / "a.csv", ns=(1, 1))
        return real(descriptor, count)

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(PermanentFault, match="was changed while"):
        copy(source, target)


def test_a_file_rewritten_by_who_sets_its_time_back_is_refused(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.read, []
    before = (source / "a.csv").stat()

    def read(descriptor: int, count: int) -> bytes:
        calls.append(count)
        if len(calls) == 2:
            with (source / "a.csv").open("r+b") as file:
                file.write(b"xyz")
            os.utime(source / "a.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
        return real(descriptor, count)

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(PermanentFault, match="was changed while"):
        copy(source, target)


@pytest.mark.parametrize("trick", ["link", "directory", "pipe"])
def test_what_is_exchanged_for_a_file_before_it_is_opened_is_not_read(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trick: str
) -> None:
    real, place = os.stat, source / "a.csv"

    def stat(*args: str, **options: Any) -> stat_result:
        answer = real(*args, **options)
        place.unlink()
        if trick == "link":
            place.symlink_to(tmp_path / "victim")
        elif trick == "pipe":
            os.mkfifo(place)
        else:
            place.mkdir()
        return answer

    with safe_paths.directory(source) as here:
        monkeypatch.setattr(os, "stat", stat)
        with pytest.raises(safe_paths.NotARegularFile, match=r"^a\.csv is not an ordinary file$"):
            safe_paths.open_file(here, "a.csv")


def test_a_file_in_a_directory_exchanged_for_a_link_is_not_read(
    source: Path, tmp_path: Path
) -> None:
    (source / "folder").mkdir()
    (source / "folder/x.csv").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.csv").write_text("not mine")
    with safe_paths.directory(source) as here:
        (source / "folder").rename(source / "away")
        (source / "folder").symlink_to(elsewhere)
        with pytest.raises(NotADirectoryError):
            safe_paths.open_file(here, "folder/x.csv")


def test_a_full_disk_leaves_no_partial_file(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target / "a.csv").write_text("before")

    def write(descriptor: int, content: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(TransientFault) as caught:
        copy(source, target)
    assert caught.value.fault is Fault.DISK_FULL
    with pytest.raises(TransientFault):
        atomic_files.write_file(target / "a.csv", b"x")
    monkeypatch.undo()
    assert tree(target) == {"a.csv"}
    assert (target / "a.csv").read_text() == "before"


def test_an_unfinished_file_is_written_where_its_readers_do_not_look(tmp_path: Path) -> None:
    seen = []

    def pieces() -> Iterator[bytes]:
        yield b"a"
        seen.append((tree(tmp_path / "shown"), len(tree(tmp_path / "aside"))))
        yield b"b"

    atomic_files.write_file(tmp_path / "shown/file", pieces(), staging=tmp_path / "aside")
    assert seen == [(set(), 1)]
    assert (tmp_path / "shown/file").read_bytes() == b"ab"
    assert tree(tmp_path / "aside") == set()


def test_a_file_whose_content_cannot_be_made_is_not_written(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        atomic_files.write_file(tmp_path / "file", pieces())
    assert tree(tmp_path) == set()


def test_space_is_reserved_before_a_copy_is_begun(tmp_path: Path) -> None:
    with safe_paths.directory(tmp_path) as folder:
        free = os.fstatvfs(folder).f_bavail * os.fstatvfs(folder).f_frsize
        disk.require_space(folder, 0)
        with pytest.raises(TransientFault) as caught:
            disk.require_space(folder, free + 1)
    assert caught.value.fault is Fault.DISK_FULL
