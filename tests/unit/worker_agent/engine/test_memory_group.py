"""Where a container's memory counters are, and what they say; with files that stand for them."""

import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from worker_agent.engine.memory_group import MemoryCount, MemoryGroup, find_memory_group

pytestmark = pytest.mark.unit

ID = "c" * 64
PID = 4711
V1 = {
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "memory.max_usage_in_bytes": "6291456\n",
}
V2 = {
    "memory.events": "low 0\nhigh 0\nmax 31\noom 3\noom_kill 2\noom_group_kill 0\n",
    "memory.peak": "6291456\n",
}


def tree(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def process(proc: Path, *lines: str) -> None:
    (proc / str(PID)).mkdir(parents=True)
    (proc / str(PID) / "cgroup").write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("files", [V1, V2])
def test_both_versions_tell_how_many_were_killed_and_how_much_was_used(
    tmp_path: Path, files: dict[str, str]
) -> None:
    group = MemoryGroup(tree(tmp_path / "c", files))
    try:
        assert group.read() == MemoryCount(oom_kills=2, peak_bytes=6291456)
        (tmp_path / "c" / next(iter(files))).write_text("oom_kill 3\n")
        assert group.read().oom_kills == 3
        group.hush()
    finally:
        group.close()


def test_a_kernel_that_does_not_keep_the_peak_leaves_it_unknown(tmp_path: Path) -> None:
    group = MemoryGroup(tree(tmp_path / "c", {"memory.events": V2["memory.events"]}))
    assert group.read() == MemoryCount(oom_kills=2, peak_bytes=None)
    group.close()


def test_a_kernel_that_does_not_count_kills_tells_of_none(tmp_path: Path) -> None:
    group = MemoryGroup(tree(tmp_path / "c", {"memory.oom_control": "under_oom 0\n"}))
    assert group.read() == MemoryCount()
    group.close()


@pytest.mark.parametrize(
    ("place", "files", "lines"),
    [
        (f"memory/docker/{ID}", V1, []),
        (f"memory/system.slice/docker-{ID}.scope", V1, []),
        (f"docker/{ID}", V2, []),
        (f"system.slice/docker-{ID}.scope", V2, []),
        (f"rap.slice/docker-{ID}.scope", V2, [f"0::/rap.slice/docker-{ID}.scope"]),
        (f"memory/jobs/{ID}", V1, [f"9:cpu,cpuacct:/x/{ID}", f"5:memory:/jobs/{ID}", "0::/"]),
    ],
)
def test_the_counters_are_found_wherever_the_engine_keeps_its_containers(
    tmp_path: Path, place: str, files: dict[str, str], lines: list[Any]
) -> None:
    tree(tmp_path / "root" / place, files)
    process(tmp_path / "proc", *lines)
    group = find_memory_group(tmp_path / "root", ID, PID, proc=tmp_path / "proc")
    assert group.read().oom_kills == 2
    group.close()


def test_another_process_of_the_same_number_is_not_taken_for_the_container(tmp_path: Path) -> None:
    tree(tmp_path / "root" / "other.slice", V2)
    process(tmp_path / "proc", "0::/other.slice")
    assert find_memory_group(tmp_path / "root", ID, PID, proc=tmp_path / "proc") is None


def test_an_agent_that_sees_no_counters_has_none(tmp_path: Path) -> None:
    assert find_memory_group(tmp_path, ID, None) is None
    assert find_memory_group(tmp_path, ID, PID, proc=tmp_path) is None


@pytest.fixture
def control_group() -> Iterator[Path]:
    """A real control group of version 2, without a controller."""
    roots = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
    for root in roots:
        if (root / "cgroup.procs").exists():
            folder = root / f"rap-test-{uuid4().hex[:8]}"
            try:
                folder.mkdir()
            except OSError:
                break
            yield folder
            folder.rmdir()
            return
    pytest.skip("no control groups of version 2 can be made here")


def test_a_file_of_the_kernels_rings_when_it_changes(tmp_path: Path, control_group: Path) -> None:
    # The kernel announces changes of this file as it does those of memory.events.
    (tmp_path / "memory.events").symlink_to(control_group / "cgroup.events")
    group = MemoryGroup(tmp_path)
    group.read()
    assert not select.select([group.bell], [], [], 0)[0]
    (control_group / "cgroup.freeze").write_text("1")
    assert select.select([group.bell], [], [], 5)[0]
    group.hush()
    group.read()
    assert not select.select([group.bell], [], [], 0)[0]
    group.close()
