"""How much of a backend a job takes (docs/spec/controller.md 9.4). Pure."""

import re
from collections.abc import Iterable

from rap.models import JobSpec, Weights

USUAL_WEIGHT = 1.0


def weight_of(job: JobSpec, weights: Weights) -> float:
    """The weight of a job.

    The first rule of its workspace that matches the whole name of the action decides; else the
    first default rule that matches the whole command, as it is after reusable actions have been
    resolved.
    """
    rules = [
        *((rule, job.action) for rule in weights.workspaces.get(job.workspace, ())),
        *((rule, job.run_command) for rule in weights.default),
    ]
    matching = (rule.weight for rule, text in rules if re.fullmatch(rule.pattern, text))
    return next(matching, USUAL_WEIGHT)


def weigh(jobs: Iterable[JobSpec], weights: Weights) -> tuple[JobSpec, ...]:
    """The same jobs with their weights."""
    return tuple(job.model_copy(update={"weight": weight_of(job, weights)}) for job in jobs)
