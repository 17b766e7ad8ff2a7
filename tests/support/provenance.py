"""Records of provenance, for tests: jobs that filed files whose contents are their own names."""

import hashlib
from typing import Any

from rap.models import PrivacyLevel
from worker_agent.workspace.provenance import InputFile, OutputFile, ProvenanceRecord

MODERATE = PrivacyLevel.MODERATELY_SENSITIVE
REGISTRY = "ghcr.io/opensafely-core"


def sha256_of(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def filed(name: str, content: str | None = None, **changes: Any) -> OutputFile:
    """``content`` is by default the name."""
    text = name if content is None else content
    facts: dict[str, Any] = {
        "name": name,
        "size": len(text),
        "sha256": sha256_of(text),
        "level": MODERATE,
    }
    return OutputFile(**(facts | changes))


def read(file: OutputFile, job_id: str, action: str, **changes: Any) -> InputFile:
    facts: dict[str, Any] = {
        **file.model_dump(include={"name", "size", "sha256", "level"}),
        "job_id": job_id,
        "action": action,
    }
    return InputFile(**(facts | changes))


def record(job_id: str, action: str, *outputs: OutputFile, **changes: Any) -> ProvenanceRecord:
    facts: dict[str, Any] = {
        "job_id": job_id,
        "rap_id": "raprapraprap0001",
        "workspace": "ws",
        "action": action,
        "repo": "https://github.com/opensafely/study",
        "branch": "main",
        "commit": "c" * 40,
        "user": "alice",
        "project": "asthma",
        "image": f"{REGISTRY}/python:v2",
        "image_digest": f"sha256:{'d' * 64}",
        "image_id": f"sha256:{'e' * 64}",
        "args": ("python", f"analysis/{action}.py"),
        "patterns": {file.name: file.level for file in outputs},
        "outputs": outputs,
        "succeeded": True,
        "exit_code": 0,
        "filed_at_ns": 1_767_225_600_000_000_000,
    }
    return ProvenanceRecord(**(facts | changes))
