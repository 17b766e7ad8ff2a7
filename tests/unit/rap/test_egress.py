"""What may cross the border of a backend: bounded on either side, and never more than that."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rap import egress
from rap.egress import AgentReport, Ending, JobOutcome, JobProgress, Metrics, Stage
from workflows.markdown import moment

pytestmark = pytest.mark.unit

OUTCOME: dict[str, Any] = {"task_id": "j-001", "ending": "completed"}
PROGRESS: dict[str, Any] = {
    "job_id": "j", "rap_id": "r", "attempt": 1, "stage": "executing", "since": 5.0,
}  # fmt: skip
REPORT: dict[str, Any] = {"backend": "b", "host": "h", "at": 5.0}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(list(Stage)) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("code", [-1, 256, 10**30, math.inf, math.nan, "x"])
def test_an_exit_code_that_no_program_has_is_dropped(code: object) -> None:
    assert JobOutcome(**OUTCOME, exit_code=code).exit_code is None


@pytest.mark.parametrize("at", [-1, 1e11, 10**400, math.inf, math.nan, None])
def test_of_the_times_only_the_impossible_one_is_dropped(at: object) -> None:
    stages = {"preparing": 5.0, "prepared": at, "of a newer agent": 6.0}
    assert JobOutcome(**OUTCOME, stages=stages).stages == {Stage.PREPARING: 5.0}


def test_what_is_dropped_is_said(caplog: pytest.LogCaptureFixture) -> None:
    JobOutcome(**OUTCOME, memory_peak_bytes=-1, stages={"preparing": 1e300})
    assert caplog.messages == [
        "JobOutcome: left out what is out of bounds: memory_peak_bytes, stages"
    ]


def test_figures_of_use_are_finite() -> None:
    metrics = {"cpu_peak": math.inf, "cpu_mean": -1, "mem_mb_peak": 3}
    outcome = JobOutcome(**OUTCOME, metrics=metrics)
    assert outcome.metrics == Metrics(mem_mb_peak=3)


def test_a_job_that_makes_no_sense_does_not_hide_the_others_of_a_report() -> None:
    jobs = [PROGRESS | {"since": 1e300}, PROGRESS, PROGRESS | {"stage": "?"}]
    report = AgentReport(**REPORT, room=-5, free_disk_bytes=10**30, jobs=jobs)
    assert report.jobs == (JobProgress(**PROGRESS),)
    assert (report.room, report.free_disk_bytes) == (0, None)


@pytest.mark.parametrize("document", [{"ending": "?", "task_id": "j"}, {"task_id": "j"}, [], 5])
def test_what_says_nothing_is_refused(document: object) -> None:
    with pytest.raises(ValidationError):
        JobOutcome.model_validate_json(json.dumps(document))


def numbers(model: BaseModel) -> Any:
    """Every number in a model, to any depth."""
    for value in model.__dict__.values():
        for each in value.values() if isinstance(value, dict) else [value]:
            if isinstance(each, BaseModel):
                yield from numbers(each)
            elif isinstance(each, int | float):
                yield each


@given(
    st.dictionaries(st.sampled_from(list(JobOutcome.model_fields)), JSON).map(
        lambda extra: {**extra, **OUTCOME}
    )
)
def test_whatever_arrives_can_be_written_and_shown(document: dict[str, Any]) -> None:
    outcome = JobOutcome.model_validate_json(json.dumps(document))
    assert outcome.ending is Ending.COMPLETED
    assert all(math.isfinite(each) for each in numbers(outcome))
    for at in outcome.stages.values():
        moment(at)
    assert JobOutcome.model_validate_json(outcome.model_dump_json()) == outcome


def test_every_number_that_may_leave_has_bounds() -> None:
    found = [each for each in vars(egress).values() if _is_model(each)]
    assert JobOutcome in found
    for model in found:
        for name, field in model.model_json_schema()["properties"].items():
            assert not list(_unbounded(field)), f"{model.__name__}.{name}"


def _is_model(each: object) -> bool:
    return (
        isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == "rap.egress"
    )


def _unbounded(schema: object) -> Any:
    if isinstance(schema, dict):
        kind = schema.get("type")
        if kind in ("number", "integer") and not {"minimum", "maximum"} <= schema.keys():
            yield schema
        if kind == "string" and not {"maxLength", "pattern", "enum", "const"} & schema.keys():
            yield schema
        for each in schema.values():
            yield from _unbounded(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _unbounded(each)
