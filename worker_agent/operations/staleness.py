"""Which outputs no longer follow from the newest code and inputs, and why. Pure.

An output follows from its action's own lines in the project file, the code at their commit, the
image and the inputs. What can be known of each is decided here; nothing of it changes what a create
decides (docs/spec/controller.md 8).

Which files of a repository an action reads cannot be known: it may import or open any of them. So
only a file that its command names makes it stale; others that differ make it perhaps stale.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from rap.models import Model, PrivacyLevel
from worker_agent.workspace.provenance import ProvenanceRecord

PROJECT_FILE = "project.yaml"
_MOST_NAMED = 5


class Verdict(StrEnum):
    """What is known of the outputs of an action."""

    CURRENT = "current"
    STALE = "stale"
    PERHAPS = "perhaps"
    """Something else has changed that the action may read."""
    UNKNOWN = "unknown"
    """The job that filed them has no record of provenance."""


class Why(StrEnum):
    """A reason for a verdict."""

    ACTION_GONE = "action_gone"
    """The project file has no action of that name any more."""
    COMMAND_CHANGED = "command_changed"
    OUTPUTS_CHANGED = "outputs_changed"
    """The action declares other outputs, or other levels."""
    NEEDS_CHANGED = "needs_changed"
    CODE_CHANGED = "code_changed"
    """A file that the command names, or the reusable action, is another one now."""
    CODE_ELSEWHERE_CHANGED = "code_elsewhere_changed"
    """Other files of the repository differ, which the action may read."""
    CODE_NOT_COMPARED = "code_not_compared"
    """The commit that the job ran, or the reusable action, cannot be had any more."""
    IMAGE_NEWER = "image_newer"
    """The image's name stands for another image on this host now."""
    INPUT_MADE_AGAIN = "input_made_again"
    """The newest succeeded job of the input's action filed other bytes, or none."""
    INPUT_REPLACED = "input_replaced"
    """The input is not in the workspace as its job filed it: changed by hand, or gone."""
    INPUT_STALE = "input_stale"
    """The outputs of an action that it needs are stale themselves."""
    OUTPUT_REPLACED = "output_replaced"
    """An output is not in the workspace as the job filed it: changed by hand, or gone."""
    NO_RECORD = "no_record"


_PERHAPS = frozenset({Why.CODE_ELSEWHERE_CHANGED, Why.CODE_NOT_COMPARED})


class Reason(Model):
    """A reason, with the names that it is about."""

    why: Why
    names: tuple[str, ...] = ()
    """Of files, actions, or the image, by ``why``; those of code are the first of them."""
    count: int = 0
    """How many there are in all."""


class ActionState(Model):
    """The outputs of one action, as its last succeeded job filed them."""

    action: str
    job_id: str
    commit: str = ""
    outputs: tuple[str, ...]
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()


class ActionNow(NamedTuple):
    """An action at the newest commit, as a job of it would get it."""

    needs: tuple[str, ...]
    patterns: Mapping[str, PrivacyLevel]
    command: tuple[str, ...] | None
    """Image and arguments; ``None``: its reusable action cannot be had."""
    action_commit: str = ""
    """Of its reusable action; empty: it has none."""


class Earlier(NamedTuple):
    """The last job of an action if it has no record of provenance."""

    action: str
    job_id: str
    outputs: tuple[str, ...]


class Situation(NamedTuple):
    """All that matters, as it is now."""

    records: tuple[ProvenanceRecord, ...]
    """Of all jobs of the workspace, failed ones too."""
    earlier: tuple[Earlier, ...]
    actions: Mapping[str, ActionNow]
    """Of the project file at the newest commit."""
    differing: Mapping[str, tuple[str, ...] | None]
    """By commit: the files of the study that differ at the newest one; ``None``: not known."""
    contents: Mapping[str, str | None]
    """The hash of each file that a record names; ``None``: it is not there."""
    image_ids: Mapping[str, str | None]
    """What the names of images stand for on this host; one that is missing is not known."""


def newest(records: Iterable[ProvenanceRecord]) -> dict[str, ProvenanceRecord]:
    """The last succeeded job of each action."""
    found: dict[str, ProvenanceRecord] = {}
    for record in sorted(records, key=lambda each: (each.filed_at_ns, each.job_id)):
        if record.succeeded:
            found[record.action] = record
    return found


def judge(now: Situation) -> tuple[ActionState, ...]:
    """The state of each action that has outputs here, those that others need first."""
    current = newest(now.records)
    actions = {record.job_id: record.action for record in now.records}
    states: dict[str, ActionState] = {}
    for record in _in_order(current):
        reasons = tuple(_reasons(record, now, current, actions, states))
        states[record.action] = ActionState(
            action=record.action,
            job_id=record.job_id,
            commit=record.commit,
            outputs=tuple(sorted(file.name for file in record.outputs if not file.untouched)),
            verdict=_verdict(reasons),
            reasons=reasons,
        )
    unknown = (
        ActionState(
            action=job.action,
            job_id=job.job_id,
            outputs=tuple(sorted(job.outputs)),
            verdict=Verdict.UNKNOWN,
            reasons=(Reason(why=Why.NO_RECORD),),
        )
        for job in now.earlier
        if job.action not in states
    )
    return (*states.values(), *unknown)


def _in_order(current: Mapping[str, ProvenanceRecord]) -> tuple[ProvenanceRecord, ...]:
    """Each after those of the actions whose files it has read."""
    order: dict[str, ProvenanceRecord] = {}
    seen: set[str] = set()

    def visit(action: str) -> None:
        if action in seen or action not in current:
            return
        seen.add(action)
        for file in current[action].inputs:
            visit(file.action)
        order[action] = current[action]

    for action in current:
        visit(action)
    return tuple(order.values())


def _verdict(reasons: tuple[Reason, ...]) -> Verdict:
    if not reasons:
        return Verdict.CURRENT
    if all(reason.why in _PERHAPS for reason in reasons):
        return Verdict.PERHAPS
    return Verdict.STALE


def _reasons(
    record: ProvenanceRecord,
    now: Situation,
    current: Mapping[str, ProvenanceRecord],
    actions: Mapping[str, str],
    states: Mapping[str, ActionState],
) -> Iterator[Reason]:
    action = now.actions.get(record.action)
    if action is None:
        yield Reason(why=Why.ACTION_GONE)
    else:
        yield from _action_changed(record, action, actions)
        yield from _code_changed(record, action, now.differing)
    image_id = now.image_ids.get(record.image)
    if image_id is not None and record.image_id is not None and image_id != record.image_id:
        yield _about(Why.IMAGE_NEWER, [record.image])
    yield from _inputs_changed(record, now, current, states)
    replaced = [
        file.name
        for file in record.outputs
        if not file.untouched and now.contents.get(file.name) != file.sha256
    ]
    if replaced:
        yield _about(Why.OUTPUT_REPLACED, replaced)


def _action_changed(
    record: ProvenanceRecord, action: ActionNow, actions: Mapping[str, str]
) -> Iterator[Reason]:
    if action.command is not None and action.command != (record.image, *record.args):
        yield Reason(why=Why.COMMAND_CHANGED)
    if dict(action.patterns) != record.patterns:
        yield Reason(why=Why.OUTPUTS_CHANGED)
    # A job that is not on record may have been of any action.
    needed = [actions.get(job_id) for job_id in record.needs]
    if None not in needed and set(needed) != set(action.needs):
        yield Reason(why=Why.NEEDS_CHANGED)


def _code_changed(
    record: ProvenanceRecord, action: ActionNow, differing: Mapping[str, tuple[str, ...] | None]
) -> Iterator[Reason]:
    if is_reusable(record):
        # The code of a reusable action runs in place of the study's.
        if action.command is None:
            yield Reason(why=Why.CODE_NOT_COMPARED)
        elif action.action_commit != record.action_commit:
            yield _about(Why.CODE_CHANGED, [record.action_repo])
        return
    files = differing.get(record.commit)
    if files is None:
        yield Reason(why=Why.CODE_NOT_COMPARED)
        return
    changed = [name for name in files if name != PROJECT_FILE]
    named = [name for name in changed if _is_named(name, record.args)]
    if named:
        yield _about(Why.CODE_CHANGED, named)
    elsewhere = [name for name in changed if name not in named]
    if elsewhere:
        yield _about(Why.CODE_ELSEWHERE_CHANGED, elsewhere)


def _is_named(file: str, args: Iterable[str]) -> bool:
    """Whether a command has the path of a file as a word, or as a part of one."""
    path = re.compile(rf"(?<![\w./-])(?:\./)?{re.escape(file)}(?!\.?[\w/-])")
    return any(path.search(word) for word in args)


def is_reusable(record: ProvenanceRecord) -> bool:
    """Whether the code of another repository than the study's ran."""
    return bool(record.action_repo) and record.action_repo != record.repo


def _inputs_changed(
    record: ProvenanceRecord,
    now: Situation,
    current: Mapping[str, ProvenanceRecord],
    states: Mapping[str, ActionState],
) -> Iterator[Reason]:
    again, replaced, stale = [], [], dict[str, None]()
    for file in record.inputs:
        maker = current.get(file.action)
        filed = {one.name: one.sha256 for one in maker.outputs} if maker else {}
        if maker is not None and filed.get(file.name) != file.sha256:
            again.append(file.name)
        elif now.contents.get(file.name) != file.sha256:
            replaced.append(file.name)
        state = states.get(file.action)
        if state is not None and state.verdict is Verdict.STALE:
            stale[file.action] = None
    for why, names in (
        (Why.INPUT_MADE_AGAIN, again),
        (Why.INPUT_REPLACED, replaced),
        (Why.INPUT_STALE, list(stale)),
    ):
        if names:
            yield _about(why, names)


def _about(why: Why, names: list[str]) -> Reason:
    return Reason(why=why, names=tuple(names[:_MOST_NAMED]), count=len(names))
