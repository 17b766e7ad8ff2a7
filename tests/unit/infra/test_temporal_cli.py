"""Finding and fetching the Temporal command line."""

import os
from pathlib import Path

import httpx
import pytest

from infra.temporal.cli import MODULE, VERSION, cache_dir, find_cli, is_sound, resolve_cli
from infra.temporal.dev_server import DYNAMIC_CONFIG, DevServer
from rap.errors import ConfigurationError, Unavailable
from rap.temporal.search_attributes import SEARCH_ATTRIBUTES

pytestmark = pytest.mark.unit


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing of Temporal can be found."""
    (tmp_path / "bin").mkdir()
    return {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("no network")

    monkeypatch.setattr(httpx, "get", refuse)
    # A Go that is really installed would be used wherever PATH points.
    monkeypatch.setattr("infra.temporal.cli.SYSTEM_GO", Path("/nonexistent/go"))


def test_the_named_path_comes_first(env: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "bin" / "temporal")
    named = program(tmp_path / "elsewhere" / "temporal")
    assert find_cli({**env, "TEMPORAL_CLI_PATH": str(named)}) == named


def test_a_named_path_that_cannot_be_run_is_an_error_and_not_passed_over(
    env: dict[str, str], tmp_path: Path
) -> None:
    program(tmp_path / "bin" / "temporal")
    with pytest.raises(ConfigurationError, match="TEMPORAL_CLI_PATH is /nowhere/temporal"):
        resolve_cli({**env, "TEMPORAL_CLI_PATH": "/nowhere/temporal"})


def test_path_comes_before_go_and_cache_and_go_before_cache(
    env: dict[str, str], tmp_path: Path
) -> None:
    cached = program(cache_dir(env) / "temporal")
    assert find_cli(env) == cached
    from_go = program(tmp_path / "go" / "bin" / "temporal")
    assert find_cli(env) == from_go
    on_path = program(tmp_path / "bin" / "temporal")
    assert find_cli(env) == on_path


def test_cache_follows_the_xdg_variable_and_the_version(tmp_path: Path) -> None:
    folder = cache_dir({"XDG_CACHE_HOME": str(tmp_path)})
    assert folder == tmp_path / "opensafely-rap" / "temporal" / f"{VERSION}-sqlite-1.44.3"


OLD_DRIVER = "#!/bin/sh\n# dep\tmodernc.org/sqlite\tv1.39.0\n"


@pytest.mark.parametrize(
    ("driver", "sound"),
    [("v1.34.1", False), ("v1.44.2", False), ("v1.44.3", True), ("v1.51.0", True)],
)
def test_a_program_is_judged_by_the_driver_that_go_wrote_into_it(
    tmp_path: Path, driver: str, sound: bool
) -> None:
    path = program(tmp_path / "temporal", f"\0\tdep\tmodernc.org/sqlite\t{driver}\th1:x=\n")
    assert is_sound(path) is sound


def test_a_program_that_does_not_tell_its_driver_is_taken(tmp_path: Path) -> None:
    assert is_sound(program(tmp_path / "temporal"))
    assert is_sound(program(tmp_path / "empty", ""))


def test_a_program_whose_server_locks_itself_up_is_passed_over_for_a_sound_one(
    env: dict[str, str], tmp_path: Path
) -> None:
    old = program(tmp_path / "bin" / "temporal", OLD_DRIVER)
    assert find_cli(env) == old
    sound = program(cache_dir(env) / "temporal")
    assert find_cli(env) == sound
    assert find_cli({**env, "TEMPORAL_CLI_PATH": str(old)}) == old


def test_where_no_sound_program_can_be_had_the_old_one_is_taken_and_that_is_told(
    env: dict[str, str], tmp_path: Path, offline: None
) -> None:
    old = program(tmp_path / "bin" / "temporal", OLD_DRIVER)
    told: list[str] = []
    assert resolve_cli(env, report=told.append) == old
    assert "SQLite driver before 1.44.3" in told[0]
    assert "Go is not installed" in told[0]


def test_offline_it_is_built_with_go_into_the_cache_and_found_there_next_time(
    env: dict[str, str], tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for Go: notes what it was asked, and delivers a program.
    program(
        tmp_path / "bin" / "go",
        f'#!/bin/sh\necho "$@" CGO_ENABLED=$CGO_ENABLED > {tmp_path}/asked\n'
        "/bin/sleep 0.2\n"
        'for out; do :; done\nprintf "#!/bin/sh\\n" > "$out"\n/bin/chmod 755 "$out"\n',
    )
    monkeypatch.setattr("infra.temporal.cli._FIRST_NEWS", 0.01)
    told: list[str] = []
    cli = resolve_cli(env, report=told.append)
    assert cli == cache_dir(env) / "temporal"
    assert os.access(cli, os.X_OK)
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith(f"build -C {MODULE} ")
    assert asked.endswith("CGO_ENABLED=0\n")
    assert told
    assert "building the Temporal command line" in told[0]
    (tmp_path / "bin" / "go").unlink()
    assert resolve_cli(env) == cli


def test_without_network_and_go_the_error_says_what_to_do(
    env: dict[str, str], offline: None
) -> None:
    with pytest.raises(ConfigurationError) as error:
        resolve_cli(env, report=lambda _: None)
    text = str(error.value)
    assert "Go is not installed" in text
    assert "TEMPORAL_CLI_PATH" in text


def test_a_build_that_fails_leaves_nothing_in_the_cache(
    env: dict[str, str], tmp_path: Path, offline: None
) -> None:
    program(tmp_path / "bin" / "go", "#!/bin/sh\necho no such module >&2\nexit 1\n")
    with pytest.raises(ConfigurationError, match="failed: no such module"):
        resolve_cli(env, report=lambda _: None)
    assert not list(cache_dir(env).iterdir())


def test_dev_server_is_started_with_all_search_attributes_and_the_quick_settings() -> None:
    command = DevServer(db=Path("t.db"), port=1, ui_port=2).command(Path("temporal"))
    for name, kind in SEARCH_ATTRIBUTES.items():
        assert f"{name}={kind}" in command
    for name, value in DYNAMIC_CONFIG.items():
        assert f"{name}={value}" in command
    # A backend of thousands of waiting jobs gets its signals while it takes a long step.
    assert "history.maximumBufferedEventsBatch=2000" in command
    assert command[command.index("--db-filename") + 1] == "t.db"
    assert "journal_mode=wal" in command
    assert "--headless" not in command


def test_a_dev_server_that_ends_at_once_is_reported_with_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_CLI_PATH", str(program(tmp_path / "t", "#!/bin/sh\nexit 3\n")))
    server = DevServer(port=18999)
    with pytest.raises(Unavailable, match=r"ended at once \(exit 3\).*18999"):
        server.start()
    assert server.process is None
