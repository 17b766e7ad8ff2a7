"""Whatever happens in a workspace, a job reads what succeeded jobs of the actions it needs filed.

Real folders, the agent's own preparing and finalizing; only the programs and git are stood in for.
The model is naive: it keeps everything that every job ever filed.
"""

import asyncio
import tempfile
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import JobDefinition
from tests.support.workspace import HIGH, Backend
from worker_agent.workspace.cleanup import remove_volume
from worker_agent.workspace.prepare import prepare

pytestmark = pytest.mark.unit

NEEDS: dict[str, tuple[str, ...]] = {
    "a": (),
    "b": (),
    "c": ("a",),
    "d": ("a", "b"),
    "e": ("b", "c", "d"),
}
WRITES = {
    "a": ("out/a", "out/shared"),
    "b": ("out/b", "out/shared"),
    "c": ("out/c",),
    "d": ("out/d", "out/shared"),
    "e": ("out/e",),
}
PATTERNS = {**WRITES, "c": ("out/*",)}
"""That of ``c`` also covers what it only reads."""


class NoCode:
    """A repository with nothing in it."""

    async def commit_is_on_branch(self, repo_url: str, branch: str, commit: str) -> bool:
        return True

    async def checkout(self, repo_url: str, commit: str, target: Path) -> None:
        target.mkdir(exist_ok=True)

    async def read_file(self, repo_url: str, commit: str, name: str) -> str:
        raise OSError


@dataclass
class Job:
    """What the model knows of a job."""

    definition: JobDefinition
    filed: dict[str, str] | None = None
    succeeded: bool = False


@dataclass
class Model:
    jobs: dict[str, Job] = field(default_factory=dict)
    """In the order of filing."""
    standing: dict[str, str] = field(default_factory=dict)
    made: int = 0

    def succeeded(self, action: str) -> list[Job]:
        return [
            job for job in self.jobs.values() if job.succeeded and job.definition.action == action
        ]

    def may_read(self, definition: JobDefinition) -> list[dict[str, str]]:
        """What a job might find in its volume, by each way that is right."""
        options = []
        for job_id, action in zip(definition.input_job_ids, definition.needs, strict=True):
            options.append({job_id, self.succeeded(action)[-1].definition.id})
        return [
            {name: self.standing[name] for job_id in chosen for name in self._filed(job_id)}
            for chosen in product(*options)
            if all(
                any(self._filed(one).get(name) == self.standing.get(name) for one in chosen)
                for job_id in chosen
                for name in self._filed(job_id)
            )
        ]

    def _filed(self, job_id: str) -> dict[str, str]:
        return self.jobs[job_id].filed or {}


@dataclass(frozen=True)
class Step:
    """Something happens in the workspace."""

    what: str
    action: str
    text: str
    fails: bool
    place: int
    """Which of the waiting jobs is meant."""


steps = st.lists(
    st.builds(
        Step,
        what=st.sampled_from(
            ["plan", "plan", "run", "run", "at once", "at once", "cancel", "edit"]
        ),
        action=st.sampled_from(sorted(NEEDS)),
        text=st.sampled_from("xyz"),
        fails=st.booleans(),
        place=st.integers(0, 3),
    ),
    min_size=12,
    max_size=40,
)


@settings(max_examples=max(settings.default.max_examples // 20, 5))
@given(steps)
def test_a_job_reads_the_files_of_exactly_the_jobs_that_its_record_names(
    history: list[Step],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live_through(Backend(Path(folder)), history))


async def live_through(backend: Backend, history: list[Step]) -> None:
    model, waiting = Model(), list[JobDefinition]()
    for action in "ab":  # so that something can be read at all
        await run(backend, model, planned(backend, model, action), "x", fails=False)
    for step in history:
        can_be_planned = all(model.succeeded(need) for need in NEEDS[step.action])
        at = step.place % len(waiting) if waiting else 0
        if step.what == "plan" and can_be_planned:
            waiting.append(planned(backend, model, step.action))
        elif step.what == "run" and waiting:
            await run(backend, model, waiting.pop(at), step.text, fails=step.fails)
        elif step.what == "at once" and can_be_planned:
            job = planned(backend, model, step.action)
            await run(backend, model, job, step.text, fails=step.fails)
        elif step.what == "cancel" and waiting:
            await backend.abandon(waiting.pop(at), cancelled=True)
        elif step.what == "edit" and model.standing:
            name = sorted(model.standing)[step.place % len(model.standing)]
            (backend.high / name).write_text(step.text)
            model.standing[name] = step.text


def planned(backend: Backend, model: Model, action: str) -> JobDefinition:
    """A job of an action, to read what the latest jobs of its needs have filed."""
    model.made += 1
    needs = NEEDS[action]
    return backend.job(
        id=f"{action}{model.made}",
        task_id=f"{action}{model.made}-001",
        action=action,
        needs=needs,
        input_job_ids=tuple(model.succeeded(need)[-1].definition.id for need in needs),
        output_spec=dict.fromkeys(PATTERNS[action], HIGH),
    )


async def run(
    backend: Backend, model: Model, definition: JobDefinition, text: str, *, fails: bool
) -> None:
    git: Any = NoCode()
    right = model.may_read(definition)
    volume = backend.storage.volume(definition.attempt_name)
    preparing = prepare(
        definition, backend.storage, git, backend.settings, backend.attempts.note_volume
    )
    if not right:
        with pytest.raises(PermanentFault) as caught:
            await preparing
        assert caught.value.fault is Fault.INPUT_REPLACED
        return
    await preparing
    noted = backend.attempts.inputs(definition.attempt_name)
    found = {file.name: (volume / file.name).read_text() for file in noted}
    assert found in right
    for file in noted:
        maker = model.jobs[file.job_id]
        assert maker.succeeded
        assert maker.definition.action == file.action
        assert file.action in definition.needs
        assert maker.filed is not None
        assert maker.filed[file.name] == found[file.name]
        assert file.verified
    sources = {action: {f.job_id for f in noted if f.action == action} for action in NEEDS}
    assert all(len(job_ids) <= 1 for job_ids in sources.values())

    written = WRITES[definition.action][: 1 if fails else None]
    for name in written:
        (volume / name).parent.mkdir(exist_ok=True)
        (volume / name).write_text(text)
    patterns = PATTERNS[definition.action]
    files = {
        name: (volume / name).read_text()
        for name in {*found, *written}
        if name in patterns or "out/*" in patterns
    }
    exit_code = 1 if fails else 0
    await backend.finish(definition, exit_code=exit_code, inputs=noted)
    remove_volume(backend.storage, definition.attempt_name)
    model.jobs[definition.id] = Job(definition, files, exit_code == 0)
    model.standing |= files
