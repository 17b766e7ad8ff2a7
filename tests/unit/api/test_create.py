"""Creating RAPs: what is sent on, and which answer is certain (docs/spec/rap-api.md A6)."""

import logging
from typing import Any

import httpx
import pytest

from rap.messages.workspaces import CreateAnswer, CreateOutcome
from rap.models import CreateRequest
from rap.records import Records
from rap.rows import IntentState
from rap.settings import ApiSettings
from tests.support.records import created, intent, rap_id
from tests.unit.api.conftest import LOST, Caller, ScriptedOrchestrator, create_body, is_json
from workflows.client import OrderFailed

pytestmark = pytest.mark.unit

RAP = rap_id()
UNKNOWN = {"error": "Error creating jobs", "details": "Unknown error"}


@pytest.mark.spec("rap-api:60", "rap-api:89", "rap-api:115")
def test_a_new_rap_is_created_and_at_once_to_be_seen(t: Caller) -> None:
    answer = t.create()
    assert (answer.status_code, answer.json()) == (
        201,
        {
            "result": "Success",
            "details": f"Jobs created for rap_id '{RAP}'",
            "rap_id": RAP,
            "count": 2,
        },
    )
    assert [job["action"] for job in t.status(RAP)["jobs"]] == ["generate", "analyse"]
    assert t.cancel(RAP, "analyse").status_code == 200


@pytest.mark.spec("rap-api:43")
@pytest.mark.parametrize(
    ("scope", "sent"),
    [
        (..., {}),
        ({}, {}),
        ({"unknown": {"a": 1}}, {}),
        ({"component_access": ["event_level_data"]}, {"component_access": ["event_level_data"]}),
    ],
)
def test_the_request_is_sent_on_as_it_came(
    t: Caller, orchestrator: ScriptedOrchestrator, scope: Any, sent: dict[str, Any]
) -> None:
    body = create_body(analysis_scope=scope, budget=1, number=9, orgs=["b", "a"])
    assert t.post("rap/create/", body).status_code == 201
    (request,) = orchestrator.creates
    told = request.model_dump(mode="json", exclude={"budget", "number"})
    expected = {**body, "analysis_scope": sent}
    assert told == {name: expected[name] for name in told}
    assert request.number == 1
    assert 10 < request.budget <= 22


@pytest.mark.spec("rap-api:61", "rap-api:62")
@pytest.mark.parametrize(
    "values", [{}, {"requested_actions": ["other"], "branch": "dev", "created_by": "else"}]
)
def test_a_repeated_create_changes_nothing(
    t: Caller, orchestrator: ScriptedOrchestrator, values: dict[str, Any]
) -> None:
    t.create()
    answer = t.create(**values)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "result": "No change",
            "details": f"Jobs already created for rap_id '{RAP}'",
            "rap_id": RAP,
            "count": 2,
        },
    )
    assert len(orchestrator.creates) == 1


@pytest.mark.spec("rap-api:63")
@pytest.mark.parametrize(
    "values", [{"workspace": "another"}, {"commit": "f" * 40}, {"repo_url": "elsewhere"}]
)
def test_another_request_under_a_known_id_is_inconsistent(
    m: Caller, orchestrator: ScriptedOrchestrator, values: dict[str, Any]
) -> None:
    m.create()
    for backend in ("test", "tpp"):
        answer = m.create(backend=backend, **values)
        assert (answer.status_code, answer.json()) == (
            400,
            {
                "error": "Inconsistent request data",
                "details": (
                    f"Jobs already created for rap_id '{RAP}' are inconsistent with request data"
                ),
            },
        )
    assert len(orchestrator.creates) == 1


def test_a_rap_is_known_on_whichever_backend_it_is(m: Caller) -> None:
    m.create(backend="test")
    assert m.create(backend="tpp").json()["result"] == "No change"


@pytest.mark.spec("rap-api:66", "rap-api:67")
@pytest.mark.parametrize("backend", ["tpp", "emis", "nowhere", ""])
def test_a_backend_that_is_not_covered_is_an_unknown_error(
    t: Caller, orchestrator: ScriptedOrchestrator, records: Records, backend: str
) -> None:
    answer = t.create(backend=backend)
    assert (answer.status_code, answer.json()) == (400, UNKNOWN)
    assert orchestrator.creates == []
    assert records.intents([RAP]) == {}


def test_the_workspace_may_know_more_than_the_read_model(
    t: Caller, orchestrator: ScriptedOrchestrator
) -> None:
    orchestrator.answer = CreateAnswer(outcome=CreateOutcome.NO_CHANGE, count=7)
    answer = t.create()
    assert (answer.status_code, answer.json()["result"], answer.json()["count"]) == (
        200,
        "No change",
        7,
    )
    orchestrator.answer = CreateAnswer(outcome=CreateOutcome.INCONSISTENT)
    assert t.create().json()["error"] == "Inconsistent request data"
    assert t.status(RAP)["unrecognised_rap_ids"] == [RAP]


def test_nothing_to_do_is_a_success_with_its_reason(
    t: Caller, orchestrator: ScriptedOrchestrator
) -> None:
    reason = "All requested actions were already scheduled to run"
    orchestrator.answer = CreateAnswer(outcome=CreateOutcome.NOTHING_TO_DO, details=reason)
    answer = t.create()
    assert (answer.status_code, answer.json()) == (
        200,
        {"result": "Nothing to do", "details": reason, "rap_id": RAP, "count": 0},
    )


def test_a_refusal_reaches_the_client_in_its_words(
    t: Caller, orchestrator: ScriptedOrchestrator
) -> None:
    text = "Invalid project: \nthe reason, with ü"
    orchestrator.answer = CreateAnswer(outcome=CreateOutcome.REFUSED, details=text)
    answer = t.create()
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "Error creating jobs", "details": text},
    )


@pytest.mark.spec("rap-api:87")
def test_a_failure_that_created_nothing_is_an_unknown_error_and_the_rap_unrecognised(
    t: Caller, orchestrator: ScriptedOrchestrator
) -> None:
    orchestrator.answer = CreateAnswer(outcome=CreateOutcome.FAILED, details="secret")
    orchestrator.settles_refused = True
    answer = t.create()
    assert (answer.status_code, answer.json()) == (400, UNKNOWN)
    assert t.status(RAP) == {"jobs": [], "unrecognised_rap_ids": [RAP]}
    assert t.cancel(RAP, "analyse").status_code == 404
    orchestrator.answer = None
    assert t.create().status_code == 201


# --- when the outcome is not known ---


@pytest.mark.spec("rap-api:88")
@pytest.mark.parametrize(
    "end", [LOST, OrderFailed("secret"), CreateAnswer(outcome=CreateOutcome.NOT_NOW, details="x")]
)
def test_what_is_not_decided_is_no_json_and_leaves_the_rap_neither_known_nor_unrecognised(
    t: Caller,
    p: Caller,
    orchestrator: ScriptedOrchestrator,
    records: Records,
    end: CreateAnswer | Exception,
) -> None:
    orchestrator.answer = end
    answer = t.create()
    assert answer.status_code == 503
    assert not is_json(answer)
    assert t.status(RAP, rap_id(2)) == {"jobs": [], "unrecognised_rap_ids": [rap_id(2)]}
    assert p.status(RAP)["unrecognised_rap_ids"] == [RAP], "nothing is told to other tokens"
    stored = CreateRequest.model_validate_json(records.intents([RAP])[RAP].request)
    assert stored.requested_actions == ("analyse",), "it can be offered again"
    orchestrator.answer = None
    assert t.create().status_code == 201


def test_a_rap_that_was_created_although_the_answer_was_lost_is_shown(
    t: Caller, orchestrator: ScriptedOrchestrator, records: Records
) -> None:
    orchestrator.answer = LOST
    t.create()
    records.record_jobs(created(RAP, "generate"))
    assert [job["action"] for job in t.status(RAP)["jobs"]] == ["generate"]
    assert t.create().json()["result"] == "No change"


class TestShortTimeout:
    @pytest.fixture
    def settings(self) -> ApiSettings:
        return ApiSettings().model_copy(update={"rap_api_timeout": 0.2})

    @pytest.mark.spec("rap-api:88")
    def test_an_orchestrator_that_never_answers_is_not_waited_for(
        self, t: Caller, orchestrator: ScriptedOrchestrator
    ) -> None:
        orchestrator.silent = True
        for answer in (t.create(), t.create()):
            assert answer.status_code == 503
            assert not is_json(answer)
        assert t.status(RAP) == {"jobs": [], "unrecognised_rap_ids": []}


def test_a_create_waits_for_the_decision_on_the_same_id_in_another_workspace(
    t: Caller, orchestrator: ScriptedOrchestrator, records: Records
) -> None:
    records.announce(intent(RAP, workspace="another"))
    answer = t.create()
    assert answer.status_code == 503
    assert not is_json(answer)
    assert orchestrator.creates == []


def test_an_unforeseen_failure_on_the_way_is_no_json(
    t: Caller, orchestrator: ScriptedOrchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    orchestrator.answer = ZeroDivisionError("secret")
    with caplog.at_level(logging.CRITICAL):
        # The server closes the connection after such an answer.
        answer = t.post("rap/create/", create_body(), headers={"Connection": "close"})
    assert answer.status_code == 500
    assert not is_json(answer)
    assert t.status(RAP)["unrecognised_rap_ids"] == []


def test_an_accepted_rap_whose_rows_are_missing_is_left_to_its_workspace(
    t: Caller, orchestrator: ScriptedOrchestrator, records: Records
) -> None:
    records.announce(intent(RAP, state=IntentState.ACCEPTED))
    orchestrator.answer = CreateAnswer(outcome=CreateOutcome.NO_CHANGE, count=3)
    assert t.create().json()["count"] == 3
    assert t.status(RAP) == {"jobs": [], "unrecognised_rap_ids": []}


@pytest.mark.spec("rap-api:19")
def test_every_json_error_has_error_and_details_and_never_detail(
    t: Caller, http: httpx.Client, orchestrator: ScriptedOrchestrator
) -> None:
    t.create()
    orchestrator.answer = CreateAnswer(outcome=CreateOutcome.REFUSED, details="No")
    refused = [
        http.post("/controller/v1/rap/create/"),
        t.post("rap/create/", {}),
        t.create(backend="tpp"),
        t.create(workspace="another"),
        t.create(rap_id=rap_id(2)),
        t.cancel(rap_id(3), "a"),
        t.cancel(RAP, "unknown"),
    ]
    assert [answer.status_code for answer in refused] == [401, 400, 400, 400, 400, 404, 404]
    for answer in refused:
        body = answer.json()
        assert isinstance(body["error"], str)
        assert isinstance(body["details"], str)
        assert "detail" not in body
