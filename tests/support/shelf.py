"""A workspace as jobs leave it: their files, the manifest, and a record of provenance of each."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rap.egress import Stage
from rap.models import PrivacyLevel
from rap.settings import AgentSettings
from tests.support.factories import COMMIT, REGISTRY, REPO
from worker_agent.workspace import manifest, provenance
from worker_agent.workspace.provenance import InputFile, OutputFile, ProvenanceRecord
from worker_agent.workspace.storage import METADATA_FILE, Storage

HIGH = PrivacyLevel.HIGHLY_SENSITIVE
MODERATE = PrivacyLevel.MODERATELY_SENSITIVE
BEGAN = 1_767_225_600.0  # the first second of 2026 in UTC
DIGEST = "sha256:" + "d" * 64


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def output(name: str, content: bytes = b"", level: PrivacyLevel = HIGH, **more: Any) -> OutputFile:
    return OutputFile(name=name, size=len(content), sha256=sha256(content), level=level, **more)


def record(job_id: str = "job1", **changes: Any) -> ProvenanceRecord:
    fields: dict[str, Any] = {
        "job_id": job_id,
        "task_id": f"{job_id}-001",
        "rap_id": "rap1",
        "backend": "test",
        "workspace": "ws",
        "action": "analyse",
        "repo": REPO,
        "branch": "main",
        "commit": COMMIT,
        "created_at": int(BEGAN),
        "user": "alice",
        "project": "hospital-admissions",
        "orgs": ("university-of-x",),
        "image": f"{REGISTRY}/python:v2",
        "image_digest": DIGEST,
        "image_id": "sha256:" + "e" * 64,
        "succeeded": True,
        "exit_code": 0,
        "stages": {Stage.EXECUTING: BEGAN + 1, Stage.EXECUTED: BEGAN + 5},
        "filed_at_ns": int(BEGAN + 6) * 10**9,
    }
    return ProvenanceRecord(**(fields | changes))


class Shelf:
    """The storage of a backend, with what jobs filed in its workspace ``ws``."""

    def __init__(self, base: Path) -> None:
        self.settings = AgentSettings(
            workdir=base / "workdir",
            high_privacy_storage_base=base / "high",
            medium_privacy_storage_base=base / "medium",
        )
        self.storage = Storage(self.settings)
        self.filed = 0
        for folder in (self.storage.high("ws"), self.storage.medium("ws")):
            folder.mkdir(parents=True)

    def file(
        self,
        job_id: str,
        files: Mapping[str, bytes],
        *,
        level: PrivacyLevel = HIGH,
        excluded: Mapping[str, str] | None = None,
        reads: Sequence[ProvenanceRecord] = (),
        with_record: bool = True,
        **changes: Any,
    ) -> ProvenanceRecord:
        """As if a job had filed these files; it has read all that others, whose records are given,
        had filed.
        """
        self.filed += 1
        excluded = excluded or {}
        made = record(
            job_id,
            outputs=tuple(
                output(name, content, level, excluded=name in excluded, reason=excluded.get(name))
                for name, content in files.items()
            ),
            inputs=tuple(
                InputFile(
                    name=each.name,
                    job_id=maker.job_id,
                    action=maker.action,
                    size=each.size,
                    sha256=each.sha256,
                    level=each.level,
                )
                for maker in reads
                for each in maker.outputs
            ),
            needs=tuple(maker.job_id for maker in reads),
            **({"action": job_id, "filed_at_ns": int(BEGAN + 10 * self.filed) * 10**9} | changes),
        )
        for name, content in files.items():
            put(self.storage.high("ws") / name, content)
            if level is MODERATE and name not in excluded:
                put(self.storage.medium("ws") / name, content)
        self._enter(made)
        if with_record:
            path = provenance.path_of(self.storage, "ws", job_id)
            put(path, provenance.encoded(made))
        return made

    def metadata(self, job_id: str, **fields: Any) -> None:
        """What ``metadata.json`` of a job says."""
        path = self.storage.logs / "2026-01" / f"os-job-{job_id}" / METADATA_FILE
        put(path, json.dumps(fields).encode())

    def _enter(self, made: ProvenanceRecord) -> None:
        document = manifest.read(self.storage, "ws")
        for each in made.outputs:
            document["outputs"][each.name] = {
                "level": each.level.value,
                "job_id": made.job_id,
                "job_request": made.rap_id,
                "action": made.action,
                "content_hash": each.sha256,
                "excluded": each.excluded,
                "message": each.reason,
            }
        put(manifest.path_of(self.storage, "ws"), json.dumps(document).encode())


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def study(shelf: Shelf) -> dict[str, ProvenanceRecord]:
    """Four actions of one RAP: patients, a table and a model made of them, and a list kept back."""
    dataset = shelf.file(
        "generate",
        {"output/canaryname-patients.csv": b"patient_id,canarytext\n"},
        database_name="default",
        permissions=("canaryless",),
        args=("generate-dataset", "--output", "output/canaryname-patients.csv"),
        patterns={"output/canaryname-*.csv": HIGH},
        image=f"{REGISTRY}/ehrql:v1",
        action="generate_dataset",
    )
    table = shelf.file(
        "table", {"output/table.csv": b"age,count\n40,120\n"}, level=MODERATE, reads=[dataset]
    )
    model = shelf.file("model", {"output/canaryname-model.bin": b"canarytext2"}, reads=[dataset])
    risks = shelf.file(
        "risks",
        {"output/canaryname-risks.csv": b"patient_id,canarytext3\n"},
        level=MODERATE,
        excluded={"output/canaryname-risks.csv": "File has canaryreason column"},
        reads=[model],
    )
    shelf.metadata(
        "table", job_definition_rap_id="rap1", job_metrics={"mem_mb_peak": 91.5, "cpu_mean": 87.0}
    )
    return {"dataset": dataset, "table": table, "model": model, "risks": risks}
