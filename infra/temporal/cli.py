"""Finds the Temporal command line, and gets it where it is missing.

``python -m infra.temporal.cli`` prints where it is. Looked for, in this order: the path in
``TEMPORAL_CLI_PATH``, ``PATH``, Go's folder of programs, our cache; then it is downloaded the way
the Temporal SDK does it, or built with Go from the module in ``cli_module/``.

Releases before 1.9 carry an SQLite driver with which a development server under load may lock
itself up for good ("Failed to start transaction. Error: interrupted (9)"): it answers, but nothing
can be written any more. Such a program is taken only if no other can be had. The module builds the
newest release that other modules can build, with a driver that is sound.
"""

import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import typer

from rap.errors import ConfigurationError

VERSION = "v1.5.1"
"""What is built; a later one cannot be, since it replaces a module by a folder of its own."""
RELEASE = "v1.9.1"
"""What is downloaded."""
SOUND_DRIVER = (1, 44, 3)
MODULE = Path(__file__).parent / "cli_module"
DOWNLOAD_SITE = "https://temporal.download"
DOWNLOAD_LIMIT = 180.0
BUILD_LIMIT = 900.0
SYSTEM_GO = Path("/usr/local/go/bin/go")
"""Where Go's own installer puts it, often without a change of ``PATH``."""
_ANSWER_LIMIT = 5.0
_FIRST_NEWS, _MORE_NEWS = 2.0, 20.0
_DRIVER = re.compile(rb"modernc\.org/sqlite\tv(\d+)\.(\d+)\.(\d+)")
"""As Go writes into a program which modules are in it."""

# Run in a process of its own: the SDK's download cannot be interrupted from Python.
_SDK_DOWNLOAD = """
import asyncio, os, sys
from temporalio.testing import WorkflowEnvironment

async def main():
    folder, version = sys.argv[1:]
    server = await WorkflowEnvironment.start_local(
        download_dest_dir=folder, dev_server_download_version=version
    )
    await server.shutdown()
    sys.stdout.flush()
    os._exit(0)

asyncio.run(main())
"""

Say = Callable[[str], None]


def say(text: str) -> None:
    """Tell the reader of the terminal; standard output stays free for the answer."""
    typer.echo(text, err=True)


def cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    """Where the command line is kept between runs, by its version and its driver's."""
    base = Path(env.get("XDG_CACHE_HOME") or _home(env) / ".cache")
    return base / "opensafely-rap" / "temporal" / f"{VERSION}-sqlite-{_dotted(SOUND_DRIVER)}"


def resolve_cli(env: Mapping[str, str] = os.environ, *, report: Say = say) -> Path:
    """The Temporal command line of this machine, fetched if need be, which is reported.

    Raises:
        ConfigurationError: there is none and none can be had; the text says what to do.
    """
    found = find_cli(env)
    if found and is_sound(found):
        return found
    cached = cache_dir(env) / "temporal"
    cached.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for fetch in (_download, _build):
        reason = fetch(cached, env, report)
        if _runs(cached):
            return cached
        reasons.append(reason)
    if found:
        report(
            f"{found} has an SQLite driver before {_dotted(SOUND_DRIVER)}: under load its "
            f"development server may stop to work. No other can be had ({'; '.join(reasons)})."
        )
        return found
    raise ConfigurationError(
        f"The Temporal command line was not found ({'; '.join(reasons)}). Install it "
        "(https://docs.temporal.io/cli), or install Go 1.24 or later and run this again, or set "
        "TEMPORAL_CLI_PATH to the program."
    )


def find_cli(env: Mapping[str, str] = os.environ) -> Path | None:
    """The command line that is on this machine already; one with a sound driver, if there is one.

    Raises:
        ConfigurationError: ``TEMPORAL_CLI_PATH`` names something that cannot be run.
    """
    named = env.get("TEMPORAL_CLI_PATH")
    if named:
        path = Path(named).absolute()
        if not _runs(path):
            raise ConfigurationError(
                f"TEMPORAL_CLI_PATH is {named}, which is not a program that can be run. "
                "Correct it, or unset it to have the command line found or fetched."
            )
        return path
    on_path = shutil.which("temporal", path=env.get("PATH", os.defpath))
    go_bin = Path(env.get("GOBIN") or Path(env.get("GOPATH") or _home(env) / "go") / "bin")
    places = (go_bin / "temporal", cache_dir(env) / "temporal")
    found = [Path(on_path).absolute()] if on_path else []
    found += [path for path in places if _runs(path)]
    return next(filter(is_sound, found), found[0] if found else None)


def is_sound(program: Path) -> bool:
    """Whether a program's SQLite driver is new enough; one that does not tell is taken to be."""
    if not program.stat().st_size:
        return True
    with program.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as bytes_:
        driver = _DRIVER.search(bytes_)
        return driver is None or tuple(int(part) for part in driver.groups()) >= SOUND_DRIVER


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME", "~")).expanduser()


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _download(target: Path, env: Mapping[str, str], report: Say) -> str:
    """Fetch as the SDK does; answers why it could not be done."""
    try:
        # Offline, the SDK would wait for long before it gives up.
        httpx.get(f"{DOWNLOAD_SITE}/cli/{RELEASE}", timeout=_ANSWER_LIMIT)
    except httpx.HTTPError:
        return f"{DOWNLOAD_SITE} does not answer"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-c", _SDK_DOWNLOAD, folder, RELEASE]
        what = f"downloading the Temporal command line {RELEASE}"
        done = _run(what, report, command, env, DOWNLOAD_LIMIT)
        if done is not None and done.returncode == 0:
            for file in Path(folder).iterdir():
                file.chmod(0o755)
                file.replace(target)  # in one step, so that an interrupted run leaves no half file
                return ""
    return f"{DOWNLOAD_SITE} did not deliver it"


def _build(target: Path, env: Mapping[str, str], report: Say) -> str:
    """Build with Go; answers why it could not be done."""
    go = shutil.which("go", path=env.get("PATH", os.defpath)) or str(SYSTEM_GO)
    if not _runs(Path(go)):
        return "Go is not installed"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # Without cgo the program is static: it also runs in an empty container.
        settings = {**env, "CGO_ENABLED": "0"}
        version = f"-X github.com/temporalio/cli/temporalcli.Version={VERSION.removeprefix('v')}"
        command = [go, "build", "-C", str(MODULE), "-ldflags", version, "-o", f"{folder}/temporal"]
        what = f"building the Temporal command line {VERSION} with Go, once; this takes minutes"
        done = _run(what, report, command, settings, BUILD_LIMIT)
        if done is None:
            return f"`go build` took longer than {BUILD_LIMIT:.0f} s"
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            return f"`go build` failed: {last[0]}"
        (Path(folder) / "temporal").replace(target)
    return ""


def _run(
    what: str, report: Say, command: list[str], env: Mapping[str, str], limit: float
) -> subprocess.CompletedProcess[str] | None:
    """Run a command of ours; ``None`` if it takes longer than ``limit`` seconds.

    What lasts longer than two seconds is reported, then again from time to time.
    """
    start, pause = time.monotonic(), _FIRST_NEWS
    process = subprocess.Popen(  # noqa: S603  our own command
        command, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            while (seconds := time.monotonic() - start) < limit:
                try:
                    texts = process.communicate(timeout=min(pause, limit - seconds))
                except subprocess.TimeoutExpired:
                    report(f"… {what} ({time.monotonic() - start:.0f} s)")
                    pause = _MORE_NEWS
                else:
                    return subprocess.CompletedProcess(command, process.returncode, *texts)
            return None
        finally:
            process.kill()


def main() -> int:
    """Print the path of the command line."""
    try:
        typer.echo(resolve_cli())
    except ConfigurationError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
