"""Reading files of studies where they can do no harm."""

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rap import project, project_reader, project_worker
from rap.errors import RequestRefused, Unavailable
from rap.models import RefusalKind
from rap.project_reader import read_action, read_project
from rap.yaml_limits import StandsForTooMuch, check_limits
from tests.cases.projects import case, printed

pytestmark = pytest.mark.unit

GOOD = b"version: 4\nactions: {a: {run: 'python:v2 a', outputs: {highly_sensitive: {o: a.csv}}}}"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(project_reader, "_known", {})
    # The library's parser of bad files does not forget them, which is why no process that had to
    # do with one is kept.
    library = vars(project)["parse_yaml_file"].__globals__
    monkeypatch.setitem(library, "PARSER", library["YAML"](typ=["safe", "rt"], pure=True))
    yield
    project_reader.end_idle_workers()


def a_worker_that(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """Let workers do something else, once they are asked."""
    program = folder / "python"
    program.write_text("\n".join(["#!/bin/sh", "head -c 1 > /dev/null", *lines]))
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))


async def refusal(text: bytes) -> str:
    with pytest.raises(RequestRefused) as caught:
        await read_project(text)
    assert caught.value.kind is RefusalKind.PROJECT
    heading, _, sentence = str(caught.value).partition("\n")
    assert heading == "Invalid project: "
    return sentence


def test_the_fast_parser_of_the_library_is_there_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: object) -> None:
        pytest.fail("the slow parser was used")

    loading = vars(project)["parse_yaml_file"].__globals__
    assert loading["FAST_PARSER"] is not None
    monkeypatch.setattr(loading["PARSER"], "load", slow)
    assert project.parse_project(GOOD)


async def test_a_project_is_read_as_in_this_process() -> None:
    text = printed("many_actions", 60)
    assert await read_project(text) == project.parse_project(text)
    assert await read_action(b"run: python:v2 'a b.py'\n") == ("python:v2", "a b.py")


async def test_a_worker_takes_one_file_after_another_but_none_after_a_bad_one() -> None:
    await read_project(GOOD)
    (first,) = project_reader._idle
    await read_project(GOOD + b"\n")
    assert project_reader._idle == [first]
    await refusal(b"- a")
    assert project_reader._idle == []


async def test_what_was_read_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = await read_project(GOOD)
    monkeypatch.setattr(project_reader, "_ask", lambda *_: pytest.fail("asked again"))
    assert await read_project(GOOD) == first


async def test_merge_keys_are_refused_before_they_unfold() -> None:
    text = printed("merge_keys", 700)
    sentence = "The aliases and merge keys stand for more than 50,000 entries"
    assert await refusal(text) == sentence
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(StandsForTooMuch, match=sentence):
        check_limits(text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 2


async def test_a_bomb_in_an_action_file_is_refused_before_it_unfolds() -> None:
    with pytest.raises(RequestRefused, match="aliases and merge keys stand for") as caught:
        await read_action(case("action-bomb"))
    assert caught.value.kind is RefusalKind.REUSABLE_ACTION


@pytest.mark.parametrize("run", [b"[a, b]", b"{a: b}", b"1", b"true", b"2020-01-01"])
async def test_the_command_of_an_action_file_must_be_a_string(run: bytes) -> None:
    with pytest.raises(RequestRefused, match=r"^ReusableActionError: `run` must be a string$"):
        await read_action(b"run: " + run)


@pytest.mark.parametrize(
    "text",
    [
        b"a: &a [*a]",
        b"a: &a {<<: *a}",
        b"a: &a [1]\nb: &a [*a, *a]",
    ],
)
def test_an_alias_cannot_stand_for_itself(text: bytes) -> None:
    with pytest.raises(StandsForTooMuch, match="holds the alias itself"):
        check_limits(text)


def test_aliases_that_stand_for_little_are_as_good_as_their_text() -> None:
    check_limits(b"a: &a {x: 1}\nb: &b {<<: *a, y: [*a]}\nc: [*a, *b]")
    shared = "e: &e [python, r]\n" + "".join(f"a{n}: *e\n" for n in range(5_000))
    check_limits(shared.encode())


async def test_a_nul_character_gets_a_sentence() -> None:
    sentence = "The file contains a NUL character, which no text may"
    assert await refusal(case("nul")) == sentence
    with pytest.raises(RequestRefused, match=sentence):
        await read_action(b"run: python:v2 a\0")


@pytest.mark.parametrize(
    "text",
    [
        b"version: 4\nactions: null",
        b"version: [4]\nactions: {a: null}",
        b"version: .inf\nactions: {}",
        b"version: 4\nactions: {a: {run: 'python:v2 x', outputs: {highly_sensitive: [1]}}}",
        b"version: 4\nactions: {[a]: {run: 'python:v2 x', outputs: {}}}",
        b"? {a: b}\n: c",
        b"\xff\xfe\xfd",
        b"a: !!python/object/apply:os.system [ls]",
        b"a: !!int x",
        b"a: !!timestamp x",
        b"a: 2020-99-99",
        b"%YAML 9.9\n---\na",
        b"a: 1\n---\nb: 2",
        "version: 4\nactions: {a: \ud800}".encode("utf-8", "surrogatepass"),
    ],
)
@pytest.mark.parametrize("kind", [project_worker.Kind.PROJECT, project_worker.Kind.ACTION])
def test_whatever_the_library_stumbles_over_is_a_refusal(
    text: bytes, kind: project_worker.Kind
) -> None:
    answer, sentence = project_worker.parse(kind, text)
    assert answer is project_worker.Kind.REFUSAL
    assert sentence


async def test_an_error_of_the_library_that_nobody_foresaw_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise OSError("who knows")

    monkeypatch.setattr(project, "load_pipeline", fail)
    with pytest.raises(RequestRefused, match="Invalid project: \nThe file has a structure"):
        project.parse_project(GOOD)


async def test_a_long_refusal_is_cut() -> None:
    names = ", ".join(f"{'x' * 200}{n}: 1" for n in range(500))
    with pytest.raises(RequestRefused) as caught:
        await read_project(f"version: 4\nactions: {{}}\n{names.replace(', ', chr(10))}".encode())
    refused = caught.value.refusal.message
    assert refused.startswith("Invalid project: \nUnexpected parameters (xxx")
    assert refused.endswith("…")
    assert 4000 < len(refused.encode()) <= 4096


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("newline-name", r"The name of action 'one\ntwo' contains characters that cannot be seen"),
        ("bidi-name", r"The name of action 'fit\u202etxt' contains characters that cannot be seen"),
        ("dots-name", "The name of action '..' contains '..' elements"),
    ],
)
async def test_a_name_that_can_only_mislead_is_refused_and_shown(name: str, sentence: str) -> None:
    assert await refusal(case(name)) == sentence


def test_sentences_of_the_library_show_names_too() -> None:
    text = 'version: 4\nactions: {"a\\nb\\u202e": {run: "python:v2 x"}}'
    with pytest.raises(RequestRefused, match=r"\nAction a\nb\\u202e must contain a configuration"):
        project.parse_project(text.encode())


@pytest.mark.parametrize(
    ("case_name", "name"),
    [("slash-in-name", "models/fit"), ("dot-name", ".hidden"), ("long-name", "a" * 210)],
)
def test_a_name_that_can_be_run_is_kept_as_it_is(case_name: str, name: str) -> None:
    assert [action.name for action in project.parse_project(case(case_name))] == [name]


# --- the limits of the process ---


async def test_a_file_that_takes_too_long_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_worker_that(monkeypatch, tmp_path, "kill -XCPU $$")
    assert await refusal(GOOD) == "The file takes too long to read"


async def test_a_file_that_takes_too_much_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_worker_that(monkeypatch, tmp_path, "kill -SEGV $$")
    assert await refusal(GOOD) == "The file takes too much memory to read"


@pytest.mark.parametrize("ending", ["kill -KILL $$", "kill -TERM $$", "exit 1", "exit 0"])
async def test_a_worker_that_ends_for_lack_of_machine_says_nothing_about_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: str
) -> None:
    a_worker_that(monkeypatch, tmp_path, ending)
    with pytest.raises(Unavailable, match="cannot be read now"):
        await read_project(GOOD)
    monkeypatch.setattr("sys.executable", str(tmp_path / "absent"))
    with pytest.raises(Unavailable, match="cannot be read now"):
        await read_project(GOOD)


async def test_a_worker_that_was_killed_while_it_waited_is_replaced() -> None:
    first = await read_project(GOOD)
    (worker,) = project_reader._idle
    os.kill(worker._process.pid, signal.SIGKILL)
    assert await read_project(GOOD + b"\n") == first


async def test_a_file_that_takes_its_time_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as changed:
        a_worker_that(changed, tmp_path, f"echo > {tmp_path}/began", "exec sleep 600")
        slow = asyncio.create_task(read_project(GOOD + b"\n"))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
    assert await read_project(GOOD)
    assert not slow.done()
    os.kill(_child_that_sleeps(), signal.SIGXCPU)
    with pytest.raises(RequestRefused):
        await slow


def _child_that_sleeps() -> int:
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "sleep":
                return int(pid)
    raise AssertionError("no such process")


async def test_the_limits_are_those_of_the_process_that_parses() -> None:
    await read_project(GOOD)
    (worker,) = project_reader._idle
    pid = worker._process.pid
    memory = resource.prlimit(pid, resource.RLIMIT_AS)
    assert memory == (512 * 1024 * 1024, 512 * 1024 * 1024)
    soft, _ = resource.prlimit(pid, resource.RLIMIT_CPU)
    assert 10 <= soft <= 10 + 60
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


async def test_processor_time_is_counted_for_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    used = iter([1.5, 31.5])

    class Usage:
        ru_stime = 0.0

        @property
        def ru_utime(self) -> float:
            return next(used)

    monkeypatch.setattr(resource, "getrusage", lambda _: Usage())
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    project_worker._allow(10)
    project_worker._allow(10)
    assert [soft for soft, _ in asked] == [11, 41]


def test_too_little_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(project, "load_pipeline", fail)
    kind, sentence = project_worker.parse(project_worker.Kind.PROJECT, GOOD)
    assert kind is project_worker.Kind.REFUSAL
    assert sentence == b"The file takes too much memory to read"
