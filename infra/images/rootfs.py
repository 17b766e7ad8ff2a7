"""Small root file systems, copied from programs of this machine with the libraries they load.

Making them needs no network and no privileges. The one for jobs holds the Python that runs this
module, its standard library, and a few commands.
"""

import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from infra.temporal.cli import resolve_cli
from rap.errors import ConfigurationError

COMMANDS = (
    "sh",
    "cat",
    "cp",
    "echo",
    "false",
    "head",
    "ls",
    "mkdir",
    "rm",
    "sleep",
    "touch",
    "true",
)
_SKIPPED_FOLDERS = {
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
}
_SKIPPED_FILES = re.compile(r"^(_tkinter|_test|_xxtest|xxlimited|_ctypes_test)|\.opt-\d\.pyc$|\.a$")

ENTRYPOINT = """#!/bin/sh
# The first word may be left out: `python:v2 analysis/a.py` is `python:v2 python analysis/a.py`.
if [ $# -gt 0 ] && ! command -v "$1" >/dev/null 2>&1; then
    set -- python "$@"
fi
exec "$@"
"""


class RootFileSystem:
    """A tar archive of files with the owner root, open to all readers."""

    def __init__(self, target: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=target, mode="w")  # noqa: SIM115  closed by close()
        self._names: set[str] = set()

    def close(self) -> None:
        """Finish the archive."""
        self._tar.close()

    def folder(self, path: str, mode: int = 0o755) -> None:
        """An empty folder, and those above it."""
        parent = str(Path(path).parent)
        if parent not in ("/", "."):
            self.folder(parent)
        if self._is_new(path):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            self._tar.addfile(entry)

    def text(self, path: str, content: str, mode: int = 0o644) -> None:
        """A file with this content."""
        self.folder(str(Path(path).parent))
        if self._is_new(path):
            data = content.encode()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(data), mode
            self._tar.addfile(entry, io.BytesIO(data))

    def file(self, source: Path, path: str | None = None) -> None:
        """A copy of a file of this machine, by default at the same place."""
        path = path or str(source)
        self.folder(str(Path(path).parent))
        if self._is_new(path):
            entry = self._tar.gettarinfo(str(source.resolve()), path.lstrip("/"))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            entry.mode = 0o755 if entry.mode & 0o100 else 0o644
            # Hard links within the archive would depend on the order of copying.
            entry.type = tarfile.REGTYPE
            entry.size = source.resolve().stat().st_size
            with source.resolve().open("rb") as content:
                self._tar.addfile(entry, content)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self.folder(str(Path(path).parent))
        if self._is_new(path):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            self._tar.addfile(entry)

    def program(self, source: Path, path: str | None = None) -> None:
        """A program or library, with the libraries it loads."""
        self.file(source, path)
        for library in libraries_of(source):
            self.file(library)

    def _is_new(self, path: str) -> bool:
        if path in self._names:
            return False
        self._names.add(path)
        return True


def libraries_of(program: Path) -> list[Path]:
    """The shared libraries that the loader would use for a program; none for a static one."""
    done = subprocess.run(  # noqa: S603  our own programs
        ["ldd", str(program)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    paths = re.findall(r"(?:=>\s+)?(/\S+)\s+\(0x", done.stdout)
    return [Path(path) for path in paths]


def python_root(target: IO[bytes]) -> None:
    """Write the archive of a root file system with this machine's Python to ``target``."""
    root = RootFileSystem(target)
    _base(root)
    interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    root.program(interpreter)
    for name in ("python", "python3"):
        root.link(f"/usr/local/bin/{name}", str(interpreter))
    places = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_prefix})
    for folder in dict.fromkeys((places["stdlib"], places["platstdlib"])):
        _library(root, Path(folder))
    for name in COMMANDS:
        found = shutil.which(name)
        if found:
            root.program(Path(found), f"/bin/{name}")
    root.text("/usr/local/bin/entrypoint", ENTRYPOINT, 0o755)
    root.close()


def busybox_root(target: IO[bytes]) -> None:
    """Write the archive of a root file system with BusyBox to ``target``.

    Raises:
        ConfigurationError: there is no BusyBox on this machine, and apt cannot fetch one.
    """
    root = RootFileSystem(target)
    _base(root)
    with tempfile.TemporaryDirectory() as folder:
        program = _busybox(Path(folder))
        root.program(program, "/bin/busybox")
        applets = subprocess.run(  # noqa: S603
            [str(program), "--list"], capture_output=True, text=True, check=True
        )
    for name in applets.stdout.split():
        if name != "busybox":
            root.link(f"/bin/{name}", "/bin/busybox")
    root.close()


def temporal_root(target: IO[bytes]) -> None:
    """Write the archive of a root file system with Temporal's command line to ``target``.

    Raises:
        ConfigurationError: the command line cannot be had.
    """
    root = RootFileSystem(target)
    _base(root)
    root.program(resolve_cli(), "/usr/local/bin/temporal")
    root.close()


def _base(root: RootFileSystem) -> None:
    root.folder("/tmp", 0o1777)  # noqa: S108  inside the image
    root.folder("/workspace", 0o777)
    for folder in ("/dev", "/proc", "/sys", "/usr/bin", "/bin"):
        root.folder(folder)
    root.text("/etc/passwd", "root:x:0:0:root:/tmp:/bin/sh\n")
    root.text("/etc/group", "root:x:0:\n")


def _library(root: RootFileSystem, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in _SKIPPED_FOLDERS and not path.name.startswith("config-"):
                _library(root, path)
        elif not _SKIPPED_FILES.search(path.name):
            if ".so" in path.suffixes or path.suffix == ".so":
                root.program(path)
            else:
                root.file(path)


def _busybox(folder: Path) -> Path:
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
