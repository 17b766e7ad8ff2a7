"""A backend on a temporary disk: its folders, and jobs that have just ended."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rap.egress import JobOutcome, Stage
from rap.git import GitCache
from rap.models import JobDefinition, JobLimits, PrivacyLevel
from rap.settings import AgentSettings
from tests.support.factories import job_definition, study
from tests.support.git_server import StudyRepo
from worker_agent.engine.facts import ContainerFacts
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.finalize import finalize
from worker_agent.workspace.limits import LIMITS, Limits
from worker_agent.workspace.storage import Storage

HIGH = PrivacyLevel.HIGHLY_SENSITIVE
MODERATE = PrivacyLevel.MODERATELY_SENSITIVE
IMAGE_ID = "sha256:" + "a" * 64
CREATED_AT = 1_767_225_599  # the last second of 2025 in UTC

PROJECT = """
version: "4.0"
actions:
  {}:
    run: python:v2 python a.py
    outputs:
      highly_sensitive:
        data: out.csv
"""


def container(exit_code: int | None = 0, **changes: Any) -> ContainerFacts:
    """What the engine says of a container that has ended."""
    facts: dict[str, Any] = {
        "id": "c" * 64,
        "name": "os-job-job1",
        "running": False,
        "started": True,
        "exit_code": exit_code,
        "image_id": IMAGE_ID,
        "inspection": {"Config": {"Env": ["PATH=/bin", "DATABASE_URL=canary-url"]}},
    }
    return ContainerFacts(**(facts | changes))


class Backend:
    """Real folders, and a real study repository."""

    def __init__(self, base: Path, **settings: Any) -> None:
        self.settings = AgentSettings(
            workdir=base / "workdir",
            high_privacy_storage_base=base / "high",
            medium_privacy_storage_base=base / "medium",
            allow_local_git_repos=True,
            **settings,
        )
        self.storage = Storage(self.settings)
        self.git = GitCache(
            self.settings.workdir / "repos", proxy_domain="proxy.invalid", token="", user="u"
        )
        self.study = StudyRepo(base / "study")
        self.commit = self.study.commit({"project.yaml": PROJECT.format("make"), "a.py": "pass"})

    @property
    def high(self) -> Path:
        return self.storage.high("ws")

    @property
    def medium(self) -> Path:
        return self.storage.medium("ws")

    def job(self, **changes: Any) -> JobDefinition:
        facts: dict[str, Any] = {
            "repo_url": self.study.url,
            "commit": self.commit,
            "study": study(git_repo_url=self.study.url, commit=self.commit),
            "workspace": "ws",
            "action": "make",
            "created_at": CREATED_AT,
            "output_spec": {"out.csv": HIGH},
            "user": "alice",
            "level4_file_types": JobLimits().level4_file_types,
        }
        return job_definition(**(facts | changes))

    def fill_volume(self, definition: JobDefinition, files: Mapping[str, str | bytes]) -> Path:
        """As if a program had written these files into its volume."""
        volume = self.storage.volume(definition.attempt_name)
        volume.mkdir(parents=True, exist_ok=True)
        (volume / ".opensafely-timestamp").write_text("1700000000000000000")
        for name, content in files.items():
            path = volume / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return volume

    def raw_log(self, text: str = "2026-01-02T03:04:05.678901234Z hello\n") -> Path:
        path = self.storage.state_dir / "raw.log"
        path.write_text(text)
        return path

    async def finish(
        self,
        definition: JobDefinition,
        files: Mapping[str, str | bytes] | None = None,
        exit_code: int = 0,
        limits: Limits = LIMITS,
        **changes: Any,
    ) -> JobOutcome:
        """Finalize a job whose program wrote ``files`` within the last minute and then ended."""
        if files is not None:
            self.fill_volume(definition, files)
        stages = changes.pop("stages", {Stage.PREPARED: time.time() - 60})
        return await finalize(
            definition,
            self.storage,
            self.git,
            AttemptEnd(
                container=changes.pop("container", container(exit_code)),
                raw_log=changes.pop("raw_log", None) or self.raw_log(),
                stages=stages,
                **changes,
            ),
            limits,
        )

    async def abandon(self, definition: JobDefinition, **changes: Any) -> JobOutcome:
        """Finalize an attempt of which there is no container."""
        return await finalize(definition, self.storage, self.git, AttemptEnd(**changes))

    def log_dir(self, definition: JobDefinition) -> Path:
        return self.storage.log_dir(definition)

    def metadata(self, definition: JobDefinition) -> dict[str, Any]:
        content = (self.log_dir(definition) / "metadata.json").read_bytes()
        document: dict[str, Any] = json.loads(content)
        return document

    def manifest(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.manifest_path.read_bytes())
        return document

    @property
    def manifest_path(self) -> Path:
        return self.medium / "metadata" / "manifest.json"


def tree(folder: Path) -> set[str]:
    """All files and links below a folder."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
