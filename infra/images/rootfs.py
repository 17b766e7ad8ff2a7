"""Small root file systems, copied from programs of this machine with the libraries they load.

Making them needs no network and no privileges. The one for jobs holds the Python that runs this
module, its standard library, and a few commands.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from infra.temporal.cli import resolve_cli
from rap.errors import ConfigurationError

COMMANDS = "sh cat cp echo false head ls mkdir rm sleep touch true"
_NOT_FOR_JOBS = """
ensurepip idlelib lib2to3 pydoc_data site-packages dist-packages test tests tkinter turtledemo
config-* _tkinter* _test* _xxtest* xxlimited* _ctypes_test* *.a *.opt-?.pyc
"""
_MODES = {"tmp": 0o1777, "workspace": 0o777}
"""Of folders that anybody may write to."""

ENTRYPOINT = """#!/bin/sh
# The first word may be left out: `python:v2 analysis/a.py` is `python:v2 python analysis/a.py`.
if [ $# -gt 0 ] && ! command -v "$1" >/dev/null 2>&1; then
    set -- python "$@"
fi
exec "$@"
"""


def write_archive(fill: Callable[[Path], None], target: IO[bytes]) -> None:
    """Write what ``fill`` puts into a folder as a tar archive: owned by root, open to all readers.

    Raises:
        ConfigurationError: this machine lacks a program that belongs there.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in (*_MODES, "dev", "proc", "sys", "etc", "bin", "usr/bin", "usr/local/bin"):
            (root / name).mkdir(parents=True)
        (root / "etc/passwd").write_text("root:x:0:0:root:/tmp:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\n")
        fill(root)
        with tarfile.open(fileobj=target, mode="w") as tar:
            for path in sorted(root.iterdir()):
                tar.add(path, path.name, filter=_owned_by_root)


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = _MODES.get(entry.name, 0o755 if entry.mode & 0o100 else 0o644)
    return entry


def python(root: Path) -> None:
    """The Python of this machine, and a few commands."""
    interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    _copy_program(root, interpreter)
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to(interpreter)
    places = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_prefix})
    unused = shutil.ignore_patterns(*_NOT_FOR_JOBS.split())
    for folder in {places["stdlib"], places["platstdlib"]}:
        library = _inside(root, Path(folder))
        shutil.copytree(folder, library, ignore=unused, dirs_exist_ok=True)
        for extension in library.rglob("*.so*"):
            _copy_libraries(root, Path("/") / extension.relative_to(root))
    for name in COMMANDS.split():
        found = shutil.which(name)
        if found:
            _copy_program(root, Path(found), Path("/bin", name))
    entrypoint = root / "usr/local/bin/entrypoint"
    entrypoint.write_text(ENTRYPOINT)
    entrypoint.chmod(0o755)


def busybox(root: Path) -> None:
    """BusyBox under the names of all its commands; got with apt where it is missing."""
    with tempfile.TemporaryDirectory() as folder:
        program = _find_busybox(Path(folder))
        _copy_program(root, program, Path("/bin/busybox"))
        applets = subprocess.run(  # noqa: S603
            [str(program), "--list"], capture_output=True, text=True, check=True
        )
    for name in {*applets.stdout.split()} - {"busybox"}:
        (root / "bin" / name).symlink_to("/bin/busybox")


def temporal(root: Path) -> None:
    """Temporal's command line."""
    _copy_program(root, resolve_cli(), Path("/usr/local/bin/temporal"))


def _inside(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _copy_program(root: Path, source: Path, path: Path | None = None) -> None:
    _copy(root, source, path or source)
    _copy_libraries(root, source)


def _copy_libraries(root: Path, program: Path) -> None:
    """Copy the shared libraries that the loader would use for a program; none for a static one."""
    done = subprocess.run(  # noqa: S603  our own programs
        ["ldd", str(program)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    for library in re.findall(r"(?:=>\s+)?(/\S+)\s+\(0x", done.stdout):
        _copy(root, Path(library), Path(library))


def _copy(root: Path, source: Path, path: Path) -> None:
    target = _inside(root, path)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _find_busybox(folder: Path) -> Path:
    found = shutil.which("busybox")
    if found:
        return Path(found)
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        fetch = ["apt-get", "download", "-q", "busybox-static"]
        subprocess.run(fetch, cwd=folder, capture_output=True, check=False)  # noqa: S603
        for package in folder.glob("busybox*.deb"):
            unpack = ["dpkg-deb", "-x", str(package), str(folder)]
            subprocess.run(unpack, capture_output=True, check=False)  # noqa: S603
            for program in (folder / "bin/busybox", folder / "usr/bin/busybox"):
                if program.is_file():
                    return program
    raise ConfigurationError(
        "BusyBox is needed for the test image and is not here. Install it "
        "(Debian, Ubuntu: apt-get install busybox-static)."
    )
