"""Cancelling: all named actions of a RAP, or none (docs/spec/rap-api.md A7)."""

import pytest

from rap.messages.workspaces import CancelAnswer
from rap.records import Records
from rap.status import StatusCode
from tests.support.records import CREATED_AT, changed, created, rap_id
from tests.unit.api.conftest import LOST, Caller, ScriptedOrchestrator, is_json
from workflows.client import OrderFailed

pytestmark = pytest.mark.unit

RAP = rap_id()


@pytest.fixture(autouse=True)
def _rap(records: Records) -> None:
    records.record_jobs(created(RAP, "generate", "analyse"))


def not_found(details: str, **more: object) -> dict[str, object]:
    return {"error": "jobs not found", "details": details, "rap_id": RAP, **more}


@pytest.mark.spec("rap-api:120", "rap-api:121")
def test_a_rap_without_jobs_on_the_clients_backends_is_not_found(
    p: Caller, t: Caller, orchestrator: ScriptedOrchestrator
) -> None:
    answer = p.cancel(RAP, "analyse")
    assert (answer.status_code, answer.json()) == (
        404,
        not_found(f"No jobs found for rap_id {RAP}"),
    )
    assert t.cancel(rap_id(2), "analyse").status_code == 404
    assert orchestrator.cancels == []


@pytest.mark.spec("rap-api:122")
def test_one_unknown_action_is_enough_to_cancel_nothing(
    t: Caller, orchestrator: ScriptedOrchestrator
) -> None:
    answer = t.cancel(RAP, "zebra", "analyse", "ant", "zebra", "run_all")
    assert (answer.status_code, answer.json()) == (
        404,
        not_found(
            "Jobs matching requested cancelled actions could not be found: ant,run_all,zebra",
            not_found=["ant", "run_all", "zebra"],
        ),
    )
    assert orchestrator.cancels == []


@pytest.mark.spec("rap-api:123", "rap-api:124", "rap-api:128")
@pytest.mark.parametrize(
    ("actions", "sent"),
    [
        (["analyse"], ("analyse",)),
        (["analyse", "generate", "analyse"], ("analyse", "generate")),
    ],
)
def test_actions_are_counted_as_they_were_sent_and_cancelled_once(
    t: Caller, orchestrator: ScriptedOrchestrator, actions: list[str], sent: tuple[str, ...]
) -> None:
    count = len(actions)
    for _ in range(2):
        answer = t.cancel(RAP, *actions)
        assert (answer.status_code, answer.json()) == (
            200,
            {"result": "Success", "details": f"{count} actions cancelled", "count": count},
        )
    backend, workspace, request = orchestrator.cancels[0]
    assert (backend, workspace) == ("test", "workspace")
    assert (request.rap_id, request.actions) == (RAP, sent)


def test_a_finished_job_can_be_cancelled_without_effect(
    t: Caller, orchestrator: ScriptedOrchestrator, records: Records
) -> None:
    records.record_jobs(changed(RAP, "analyse", StatusCode.SUCCEEDED, CREATED_AT + 9))
    orchestrator.cancelled = CancelAnswer(cancelled=0)
    before = t.status(RAP)
    assert t.cancel(RAP, "analyse").json()["count"] == 1
    assert t.status(RAP) == before


@pytest.mark.parametrize("error", [LOST, OrderFailed("secret")])
def test_a_cancel_that_may_have_been_lost_is_no_json(
    t: Caller, orchestrator: ScriptedOrchestrator, error: Exception
) -> None:
    orchestrator.cancelled = error
    answer = t.cancel(RAP, "analyse")
    assert answer.status_code == 503
    assert not is_json(answer)
    assert "secret" not in answer.text
