"""Which files of a volume are outputs: patterns, levels, strays, and every kind of trap."""

import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import PrivacyLevel
from tests.support.workspace import HIGH, MODERATE
from worker_agent.workspace import outputs, safe_paths
from worker_agent.workspace.limits import LIMITS, Limits
from worker_agent.workspace.outputs import Matched, check_patterns, match, shown
from worker_agent.workspace.removing import remove_tree

pytestmark = pytest.mark.unit


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    return path


def put(volume: Path, *names: str) -> None:
    for name in names:
        path = volume / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def found_in(
    volume: Path,
    patterns: dict[str, PrivacyLevel] | list[Any],
    prepared_at: float | None = None,
    limits: Limits = LIMITS,
) -> Matched:
    if not isinstance(patterns, dict):
        patterns = dict.fromkeys(patterns, HIGH)
    with safe_paths.directory(volume) as descriptor:
        return match(descriptor, patterns, prepared_at, limits)


# --- patterns ---


NOT_STANDARD = "is not in standard form (contains double slashes or '..' elements)"
ONLY_STARS = "(only the * wildcard character is supported)"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is an absolute path"),
        ("../a.csv", NOT_STANDARD),
        ("output/../../a.csv", NOT_STANDARD),
        ("output/..", NOT_STANDARD),
        ("./a.csv", NOT_STANDARD),
        ("output//a.csv", NOT_STANDARD),
        ("output/", NOT_STANDARD),
        ("output/**/a.csv", f"contains '**' {ONLY_STARS}"),
        ("output/?.csv", f"contains '?' {ONLY_STARS}"),
        ("output/[ab].csv", f"contains '[' {ONLY_STARS}"),
        ("C:\\a.csv", "contains back slashes (use forward slashes only)"),
        ("metadata/manifest.json", "should not include the metadata directory"),
        ("metadata", "should not include the metadata directory"),
        ("a\0.csv", "contains a NUL character"),
        ("a\n.csv", "contains a control character"),
        ("a" * 251, "has a part longer than 250 bytes"),
        ("é" * 126, "has a part longer than 250 bytes"),
        ("\ud800.csv", "is not valid text"),
    ],
)
def test_a_pattern_that_could_name_anything_else_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(PermanentFault) as caught:
        check_patterns({"fine.csv": HIGH, pattern: HIGH})
    assert str(caught.value) == f"Output path {shown(pattern)} is invalid: {reason}"
    assert caught.value.fault is Fault.OUTPUT_PATH_REFUSED
    str(caught.value).encode()


@pytest.mark.parametrize("pattern", ["a" * 250, "é" * 125, f"{'a' * 250}/{'b' * 250}", "a b/ü.csv"])
def test_a_pattern_of_long_or_unusual_parts_is_fine(pattern: str) -> None:
    check_patterns({pattern: HIGH})


def test_a_refused_pattern_is_refused_again_when_outputs_are_looked_for(volume: Path) -> None:
    put(volume.parent, "secret.csv")
    with pytest.raises(PermanentFault, match="standard form"):
        found_in(volume, ["../secret.csv"])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.csv", {"a.csv"}),
        ("*.csv", {"a.csv", "b.csv", ".hidden.csv", "qu'ote.csv"}),
        ("output/*.csv", {"output/c.csv"}),
        ("*/c.csv", {"output/c.csv"}),
        ("*/*/*.csv", {"output/deep/d.csv"}),
        ("*t*/c.*", {"output/c.csv"}),
        ("A.csv", set()),
        ("{a,b}.csv", set()),
        ("output", set()),
        ("qu'ote.csv", {"qu'ote.csv"}),
    ],
)
def test_a_star_stands_for_anything_within_one_component(
    volume: Path, pattern: str, expected: set[Any]
) -> None:
    put(volume, "a.csv", "b.csv", ".hidden.csv", "output/c.csv", "output/deep/d.csv", "qu'ote.csv")
    result = found_in(volume, [pattern])
    assert set(result.outputs) == expected
    assert result.unmatched_patterns == (() if expected else (pattern,))


def test_the_last_pattern_decides_the_level(volume: Path) -> None:
    put(volume, "a.csv", "b.csv")
    result = found_in(volume, {"*.csv": HIGH, "a.csv": MODERATE})
    assert result.outputs == {"a.csv": MODERATE, "b.csv": HIGH}
    result = found_in(volume, {"a.csv": MODERATE, "*.csv": HIGH})
    assert result.outputs == {"a.csv": HIGH, "b.csv": HIGH}


def test_unmatched_patterns_keep_their_order(volume: Path) -> None:
    put(volume, "m.csv")
    result = found_in(volume, ["z.csv", "m.csv", "a.csv"])
    assert result.unmatched_patterns == ("z.csv", "a.csv")


def test_a_pattern_full_of_stars_costs_nothing(volume: Path) -> None:
    put(volume, "a" * 200)
    assert found_in(volume, ["*a" * 60 + "b"]).outputs == {}


@given(st.data())
def test_matching_agrees_with_a_plain_translation_to_regular_expressions(
    tmp_path_factory: pytest.TempPathFactory, data: DataObject
) -> None:
    volume = tmp_path_factory.mktemp("volume")
    component = st.text("ab.*", min_size=1, max_size=4).filter(lambda part: part not in (".", ".."))
    names = data.draw(st.sets(st.lists(component, min_size=1, max_size=3).map(tuple), max_size=8))
    for parts in names:
        path = volume.joinpath(*parts)
        if not path.exists() and not any(parent.is_file() for parent in path.parents):
            put(volume, "/".join(parts))
    drawn = data.draw(
        st.lists(
            st.lists(component.filter(lambda part: "**" not in part), min_size=1, max_size=3),
            max_size=4,
        )
    )
    patterns = ["/".join(parts) for parts in drawn]
    files = {str(path.relative_to(volume)) for path in volume.rglob("*") if path.is_file()}
    naive = {
        name
        for name in files
        for pattern in patterns
        if re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]*"), name)
    }
    assert set(found_in(volume, patterns).outputs) == naive


# --- traps ---


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside.csv"
    path.write_text("secret")
    return path


def refused(volume: Path, pattern: str) -> dict[str, str]:
    """What is said about the traps that a pattern covers, having made sure that none is taken."""
    result = found_in(volume, [pattern])
    assert result.outputs == {}
    assert result.unmatched_patterns == (pattern,)
    return result.refused


def test_a_symbolic_link_to_a_file_is_refused(volume: Path, outside: Path) -> None:
    (volume / "a.csv").symlink_to(outside)
    assert refused(volume, "*.csv") == {"a.csv": "it is a symbolic link"}


def test_a_symbolic_link_to_a_file_of_the_volume_is_refused_as_well(volume: Path) -> None:
    put(volume, "real.txt")
    (volume / "a.csv").symlink_to("real.txt")
    assert refused(volume, "*.csv") == {"a.csv": "it is a symbolic link"}


def test_a_broken_symbolic_link_is_refused(volume: Path) -> None:
    (volume / "a.csv").symlink_to("nowhere")
    assert refused(volume, "*.csv") == {"a.csv": "it is a symbolic link"}


def test_a_symbolic_link_to_a_directory_is_not_entered(volume: Path, outside: Path) -> None:
    (volume / "output").symlink_to(outside.parent)
    assert refused(volume, "output/*.csv") == {"output": "it is a symbolic link"}


def test_a_hard_link_is_refused(volume: Path, outside: Path) -> None:
    (volume / "a.csv").hardlink_to(outside)
    assert refused(volume, "*.csv") == {
        "a.csv": "it is a hard link: the same file has another name"
    }


def test_a_pipe_is_refused_without_waiting_for_a_writer(volume: Path) -> None:
    os.mkfifo(volume / "a.csv")
    assert refused(volume, "*.csv") == {"a.csv": "it is a pipe"}


def test_a_device_is_refused(volume: Path) -> None:
    # Anybody may make this one, which stands for a file that was covered up.
    os.mknod(volume / "a.csv", 0o600 | stat.S_IFCHR, os.makedev(0, 0))
    assert refused(volume, "*.csv") == {"a.csv": "it is not an ordinary file"}


def test_a_socket_is_refused(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(volume)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.csv")
        assert refused(volume, "*.csv") == {"a.csv": "it is a socket"}


@pytest.mark.parametrize(
    ("name", "as_shown"),
    [
        (b"a\nb.csv", "a\\nb.csv"),
        (b"a\x1b[31m.csv", "a\\x1b[31m.csv"),
        (b"a\xff.csv", "a\\xff.csv"),
        ("a\u2028b.csv".encode(), "a\\u2028b.csv"),
        ("a\u202evsc.exe.csv".encode(), "a\\u202evsc.exe.csv"),
        ("a\u2066b.csv".encode(), "a\\u2066b.csv"),
    ],
)
def test_a_name_that_cannot_be_shown_is_refused(volume: Path, name: bytes, as_shown: str) -> None:
    Path(os.fsdecode(os.fsencode(volume) + b"/" + name)).write_text("x")
    assert refused(volume, "*.csv") == {
        as_shown: "its name contains a control character or is not valid UTF-8"
    }


def test_a_name_too_long_for_its_message_file_is_refused(volume: Path) -> None:
    put(volume, "a" * 248 + ".csv")
    (reason,) = refused(volume, "*.csv").values()
    assert reason == "its name has a part longer than 250 bytes"


def test_nothing_below_metadata_is_an_output_however_it_is_named(volume: Path) -> None:
    put(volume, "metadata/manifest.json")
    assert refused(volume, "*/manifest.json") == {
        "metadata/manifest.json": "the metadata directory is reserved"
    }


def test_the_marker_is_no_output(volume: Path) -> None:
    put(volume, ".opensafely-timestamp")
    assert refused(volume, "*timestamp") == {".opensafely-timestamp": "it belongs to the system"}


def test_a_trap_beside_a_good_file_does_not_spoil_its_pattern(volume: Path, outside: Path) -> None:
    put(volume, "good.csv")
    (volume / "bad.csv").symlink_to(outside)
    result = found_in(volume, ["*.csv"])
    assert set(result.outputs) == {"good.csv"}
    assert result.unmatched_patterns == ()
    assert set(result.refused) == {"bad.csv"}


def test_traps_that_no_pattern_covers_are_nobodys_business(volume: Path, outside: Path) -> None:
    put(volume, "good.csv")
    (volume / "venv").symlink_to(outside.parent)
    os.mkfifo(volume / "pipe")
    assert found_in(volume, ["*.csv"]).refused == {}


def test_a_directory_is_not_an_output(volume: Path) -> None:
    (volume / "a.csv").mkdir()
    assert refused(volume, "*.csv") == {}


@pytest.mark.parametrize("mode", [0, 0o400])
def test_a_directory_that_cannot_be_read_is_said(volume: Path, mode: int) -> None:
    put(volume, "output/a.csv")
    (volume / "output").chmod(mode)
    if os.geteuid() == 0:
        os.chown(volume / "output", 65534, 65534)
    with safe_paths.directory(volume) as descriptor, without_the_rights_of_root():
        result = match(descriptor, {"output/*.csv": HIGH}, 0)
    assert result.refused == {"output": "the directory cannot be read"}
    assert result.unmatched_patterns == ("output/*.csv",)


@contextmanager
def without_the_rights_of_root() -> Iterator[None]:
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_volume_that_cannot_be_read_at_all_is_said(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(root: int, parts: tuple[Any, ...]) -> None:
        raise PermissionError

    monkeypatch.setattr(outputs, "open_directory", forbid)
    assert refused(volume, "*.csv") == {".": "the directory cannot be read"}


def test_files_of_a_hundred_components_are_reached_and_no_deeper_ones(volume: Path) -> None:
    put(volume, "d/" * 99 + "a.csv", "d/" * 100 + "b.csv")
    result = found_in(volume, ["*/" * 99 + "*", "*/" * 100 + "*"])
    assert list(result.outputs) == ["d/" * 99 + "a.csv"]
    assert result.unmatched_patterns == ("*/" * 100 + "*",)


def test_very_deep_directories_are_left_alone(volume: Path) -> None:
    here = os.open(volume, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    put(volume, "a.csv")
    assert set(found_in(volume, ["*.csv"]).outputs) == {"a.csv"}
    assert remove_tree(volume) == []
    assert not volume.exists()


def test_tens_of_thousands_of_files_are_matched_but_no_more_than_a_manifest_can_hold(
    volume: Path,
) -> None:
    folder = volume / "many"
    folder.mkdir()
    for number in range(LIMITS.outputs):
        os.close(os.open(folder / f"{number}.csv", os.O_CREAT, 0o600))
    result = found_in(volume, ["many/*.csv", "many/1.txt"])
    assert len(result.outputs) == LIMITS.outputs
    assert result.unmatched_patterns == ("many/1.txt",)
    put(volume, "many/more.csv")
    with pytest.raises(PermanentFault, match="match more than 50000 files") as caught:
        found_in(volume, ["many/*.csv", "many/1.txt"])
    assert caught.value.fault is Fault.OUTPUTS_REFUSED


@pytest.mark.parametrize("count", [3, 4])
def test_the_limit_of_outputs_is_inclusive_and_counts_only_outputs(
    volume: Path, count: int
) -> None:
    limits = Limits(outputs=3)
    put(volume, *(f"{number}.csv" for number in range(count)), "other.txt")
    (volume / "link.csv").symlink_to("x")
    if count == 3:
        assert len(found_in(volume, ["*.csv"], limits=limits).outputs) == 3
    else:
        with pytest.raises(PermanentFault, match="match more than 3 files") as caught:
            found_in(volume, ["*.csv"], limits=limits)
        assert caught.value.fault is Fault.OUTPUTS_REFUSED


def sparse(path: Path, size: int, written: int) -> None:
    with path.open("wb") as file:
        for _ in range(written // 2**20):
            file.write(b"x" * 2**20)
        file.truncate(size)


def test_a_giant_of_which_hardly_anything_was_written_is_refused(volume: Path) -> None:
    sparse(volume / "a.csv", 2**30, 0)
    sparse(volume / "b.csv", 2**30 + 2**26, 2**24)
    assert refused(volume, "*.csv") == {
        "a.csv": "it is a sparse file: hardly anything of it was ever written",
        "b.csv": "it is a sparse file: hardly anything of it was ever written",
    }


def test_a_file_with_holes_is_an_output_when_it_is_small_or_partly_written(volume: Path) -> None:
    sparse(volume / "a.csv", 2**30 - 1, 0)
    sparse(volume / "b.csv", 2**30, 2**24)
    result = found_in(volume, ["*.csv"])
    assert result.sizes == {"a.csv": 2**30 - 1, "b.csv": 2**30}
    assert result.refused == {}


@pytest.mark.parametrize(("length", "is_refused"), [(1000, False), (1001, True)])
def test_a_name_longer_than_readers_can_open_is_refused(
    volume: Path, length: int, is_refused: bool
) -> None:
    parts = [*("d" * 99 for _ in range(9)), "f" * (length - 900)]
    put(volume, "/".join(parts))
    result = found_in(volume, ["/".join("*" * 10)])
    assert list(result.outputs) == ([] if is_refused else ["/".join(parts)])
    assert list(result.refused.values()) == (
        ["its name is longer than 1000 bytes"] if is_refused else []
    )


def test_long_names_are_cut_in_the_lists_that_people_read(volume: Path) -> None:
    parts = ["\x01" * 250] * 4
    put(volume, "/".join(parts))
    (stray,) = found_in(volume, [], prepared_at=0).unmatched_outputs
    assert stray == ("\\x01" * 250) + "…"
    (name,) = found_in(volume, ["*/*/*/*"]).refused
    assert name == stray


def test_a_name_of_just_the_length_is_listed_whole(volume: Path) -> None:
    name = "/".join(("a" * 250, "b" * 249, "c" * 249, "d" * 249))
    put(volume, name)
    assert found_in(volume, [], prepared_at=0).unmatched_outputs == (name,)


def test_at_most_a_thousand_refusals_are_listed(volume: Path) -> None:
    for number in range(1001):
        (volume / f"{number}.csv").symlink_to("x")
        put(volume, f"{number}\n.txt")
    assert len(found_in(volume, ["*.csv"]).refused) == 1000
    assert len(found_in(volume, ["*.txt"]).refused) == 1000


def test_a_directory_exchanged_for_a_link_while_it_is_read_is_said(
    volume: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(volume, "output/a.csv", "b.csv")
    real = safe_paths.open_directory

    def exchange(root: int, parts: tuple[Any, ...]) -> AbstractContextManager[int]:
        if parts == ("output",):
            (volume / "output").rename(volume / "away")
            (volume / "output").symlink_to(outside.parent)
        return real(root, parts)

    monkeypatch.setattr(outputs, "open_directory", exchange)
    result = found_in(volume, ["output/*.csv", "b.csv"], prepared_at=0)
    assert set(result.outputs) == {"b.csv"}
    assert result.refused == {"output": "the directory was changed while it was read"}


# --- strays ---


def test_new_files_that_no_pattern_covers_are_listed_in_order(volume: Path) -> None:
    put(volume, "z.txt", "a.txt", "output/b.csv", "output/good.csv", ".opensafely-timestamp")
    result = found_in(volume, ["output/good.csv"], prepared_at=0)
    assert result.unmatched_outputs == ("a.txt", "output/b.csv", "z.txt")


@pytest.mark.spec("agent:105")
def test_files_that_are_not_newer_than_the_volume_are_not_listed(volume: Path) -> None:
    put(volume, "old.txt", "same.txt", "new.txt")
    os.utime(volume / "old.txt", ns=(1_000, 1_000))
    os.utime(volume / "same.txt", ns=(2_000, 2_000))
    os.utime(volume / "new.txt", ns=(2_001, 2_001))
    assert found_in(volume, [], prepared_at=2e-6).unmatched_outputs == ("new.txt",)


@pytest.mark.spec("agent:104")
def test_a_changed_directory_is_not_listed(volume: Path) -> None:
    put(volume, "folder/a.csv")
    os.utime(volume / "folder", ns=(10**18, 10**18))
    assert found_in(volume, ["folder/a.csv"], prepared_at=0).unmatched_outputs == ()


def test_a_stray_is_listed_as_one_harmless_line(volume: Path) -> None:
    put(volume, "a\n=============JOB SUMMARY=============.txt")
    (stray,) = found_in(volume, [], prepared_at=0).unmatched_outputs
    assert stray == "a\\n=============JOB SUMMARY=============.txt"


def test_at_most_a_thousand_strays_are_listed(volume: Path) -> None:
    put(volume, *(f"{number}.txt" for number in range(1001)))
    assert len(found_in(volume, [], prepared_at=0).unmatched_outputs) == 1000


def test_ordinary_names_are_shown_as_they_are() -> None:
    assert shown("output/größe 1.csv") == "output/größe 1.csv"


@pytest.mark.parametrize(
    ("name", "as_shown"),
    [
        (b"\x80", "\\x80"),
        (b"\x81", "\\x81"),
        (b"\xff", "\\xff"),
        ("\udc7f", "\\udc7f"),
        ("\udd00", "\\udd00"),
        ("a\tb", "a\\tb"),
        ("größe\t", "größe\\t"),
        ("\x7f", "\\x7f"),
    ],
)
def test_each_character_that_cannot_be_shown_has_its_escape(
    name: bytes | str, as_shown: str
) -> None:
    assert shown(os.fsdecode(name) if isinstance(name, bytes) else name) == as_shown
