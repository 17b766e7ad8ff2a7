"""Studies to be measured, and the requests to run them."""

import subprocess
from pathlib import Path
from typing import Any


def repository(folder: Path, text: str) -> str:
    """A study with this project file; returns its commit."""
    folder.mkdir(parents=True)
    (folder / "project.yaml").write_text(text)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    head = ["git", "rev-parse", "HEAD"]
    return subprocess.run(head, cwd=folder, check=True, capture_output=True).stdout.decode().strip()


def create_body(rap_id: str, study: Path | str, commit: str, **other: object) -> dict[str, Any]:
    """What job-server sends to have a whole study run, in a workspace of its own."""
    return {
        "backend": "test",
        "rap_id": rap_id,
        "workspace": f"bench{rap_id}",
        "repo_url": str(study),
        "branch": "main",
        "commit": commit,
        "database_name": "default",
        "requested_actions": ["run_all"],
        "codelists_ok": True,
        "force_run_dependencies": False,
        "created_by": "bench",
        "project": "bench",
        "orgs": [],
        **other,
    }
