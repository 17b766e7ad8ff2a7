"""How much of a backend a job takes (controller.md 9.4). Pure."""

import re
from collections.abc import Iterable

from rap.models import JobSpec, WeightRule, Weights

USUAL_WEIGHT = 1.0


def weight_of(job: JobSpec, weights: Weights) -> float:
    """The weight of a job.

    The first rule of its workspace that matches the whole name of the action decides; else the
    first default rule that matches the whole command, as it is after reusable actions have been
    resolved.
    """
    for rule in _matching(weights.workspaces.get(job.workspace, ()), job.action):
        return rule.weight
    for rule in _matching(weights.default, job.run_command):
        return rule.weight
    return USUAL_WEIGHT


def weigh(jobs: Iterable[JobSpec], weights: Weights) -> tuple[JobSpec, ...]:
    """The same jobs with their weights."""
    return tuple(job.model_copy(update={"weight": weight_of(job, weights)}) for job in jobs)


def _matching(rules: Iterable[WeightRule], text: str) -> Iterable[WeightRule]:
    return (rule for rule in rules if re.fullmatch(rule.pattern, text))
