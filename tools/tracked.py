"""Which files belong to the project: what git tracks, and what is new and not ignored."""

import subprocess
from pathlib import Path


def project_files(root: Path) -> frozenset[str]:
    """Their paths below the root, with forward slashes; without those that are deleted."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return frozenset(name for name in listed.stdout.split("\0") if name and (root / name).is_file())
