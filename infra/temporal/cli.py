"""Finds the Temporal command line, and gets it where it is missing.

``python -m infra.temporal.cli`` prints where it is. Looked for, in this order: the path in
``TEMPORAL_CLI_PATH``, ``PATH``, Go's folder of programs, our cache; then it is downloaded the way
the Temporal SDK does it, or built with ``go install``. The version is fixed, because later ones
cannot be built by ``go install``.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import httpx
import typer

from rap.errors import ConfigurationError

VERSION = "v1.5.1"
GO_PACKAGE = f"github.com/temporalio/cli/cmd/temporal@{VERSION}"
DOWNLOAD_SITE = "https://temporal.download"
DOWNLOAD_LIMIT = 180.0
BUILD_LIMIT = 900.0
SYSTEM_GO = Path("/usr/local/go/bin/go")
"""Where Go's own installer puts it, often without a change of ``PATH``."""
_ANSWER_LIMIT = 5.0
_FIRST_NEWS, _MORE_NEWS = 2.0, 20.0

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
    """Where the command line is kept between runs, by its version."""
    base = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".cache")
    return Path(base) / "opensafely-rap" / "temporal" / VERSION


def resolve_cli(env: Mapping[str, str] = os.environ, *, tell: Say = say) -> Path:
    """The Temporal command line of this machine, fetched if need be.

    Args:
        env: where the variables are read.
        tell: is told about anything that takes longer than two seconds.

    Raises:
        ConfigurationError: there is none and none can be had; the text says what to do.
    """
    found = find_cli(env)
    if found:
        return found
    cached = cache_dir(env) / "temporal"
    cached.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for fetch in (_download, _build):
        reason = fetch(cached, env, tell)
        if _runs(cached):
            return cached
        reasons.append(reason)
    raise ConfigurationError(
        f"The Temporal command line was not found ({'; '.join(reasons)}). Install it "
        "(https://docs.temporal.io/cli), or install Go 1.24 or later and run this again, or set "
        "TEMPORAL_CLI_PATH to the program."
    )


def find_cli(env: Mapping[str, str] = os.environ) -> Path | None:
    """The command line that is on this machine already.

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
    if on_path:
        return Path(on_path).absolute()
    go_bin = env.get("GOBIN") or str(Path(env.get("GOPATH") or _home(env) / "go") / "bin")
    return next(
        (p for p in (Path(go_bin) / "temporal", cache_dir(env) / "temporal") if _runs(p)), None
    )


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME", "~")).expanduser()


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _download(target: Path, env: Mapping[str, str], tell: Say) -> str:
    """Fetch as the SDK does; answers why it could not be done."""
    try:
        # Offline, the SDK would wait for long before it gives up.
        httpx.get(f"{DOWNLOAD_SITE}/cli/{VERSION}", timeout=_ANSWER_LIMIT)
    except httpx.HTTPError:
        return f"{DOWNLOAD_SITE} does not answer"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-c", _SDK_DOWNLOAD, folder, VERSION]
        with _progress(f"downloading the Temporal command line {VERSION}", tell):
            done = _run(command, env, DOWNLOAD_LIMIT)
        if done is not None and done.returncode == 0:
            for file in Path(folder).iterdir():
                file.chmod(0o755)
                file.replace(target)  # in one step, so that an interrupted run leaves no half file
                return ""
    return f"{DOWNLOAD_SITE} did not deliver it"


def _build(target: Path, env: Mapping[str, str], tell: Say) -> str:
    """Build with Go; answers why it could not be done."""
    go = shutil.which("go", path=env.get("PATH", os.defpath))
    if go is None and _runs(SYSTEM_GO):
        go = str(SYSTEM_GO)
    if go is None:
        return "Go is not installed"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # Without cgo the program is static: it also runs in an empty container.
        settings = {**env, "GOBIN": folder, "CGO_ENABLED": "0"}
        what = f"building the Temporal command line {VERSION} with Go, once; this takes minutes"
        with _progress(what, tell):
            done = _run([go, "install", GO_PACKAGE], settings, BUILD_LIMIT)
        if done is None:
            return f"`go install {GO_PACKAGE}` took longer than {BUILD_LIMIT:.0f} s"
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            return f"`go install {GO_PACKAGE}` failed: {last[0]}"
        (Path(folder) / "temporal").replace(target)
    return ""


def _run(
    command: list[str], env: Mapping[str, str], limit: float
) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(  # noqa: S603  our own command
            command, env=dict(env), timeout=limit, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return None


@contextmanager
def _progress(what: str, tell: Say) -> Iterator[None]:
    """Tell when something lasts longer than two seconds, then from time to time."""
    start = time.monotonic()
    done = Event()

    def report() -> None:
        pause = _FIRST_NEWS
        while not done.wait(pause):
            tell(f"… {what} ({time.monotonic() - start:.0f} s)")
            pause = _MORE_NEWS

    Thread(target=report, daemon=True).start()
    try:
        yield
    finally:
        done.set()


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
