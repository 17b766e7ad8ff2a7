"""Parsing and checking of bodies: which problem is told, and in which words
(docs/spec/rap-api.md A4).
"""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.records import rap_id
from tests.unit.api.conftest import Caller, create_body

pytestmark = pytest.mark.unit

POSTS = ["rap/create/", "rap/cancel/", "rap/status/"]
UNPARSABLE = "could not parse JSON from request body"
AT = "Invalid request body received at "
WHOLE = "Invalid request body received: "


@pytest.fixture(scope="module")
def caller(site: httpx.Client) -> Caller:
    return Caller(site, "T-token")


def problem(answer: httpx.Response) -> str:
    body = answer.json()
    assert answer.status_code == 400, answer.text
    assert set(body) == {"error", "details"}
    assert body["error"] == "Validation error"
    return str(body["details"])


@pytest.mark.spec("rap-api:21", "rap-api:22", "rap-api:23", "rap-api:24")
@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'\xef\xbb\xbf{"rap_ids": []}',
        '{"rap_ids": []}'.encode("utf-16"),
        b'{"rap_ids": [\xe9]}',
        b"--boundary\r\nContent-Disposition: form-data\r\n",
        b"[" * 100_000,
        b'{"rap_ids": ' + b"9" * 10_000 + b"}",
    ],
    ids=["empty", "cut", "bytes", "bom", "utf-16", "latin-1", "multipart", "deep", "digits"],
)
def test_what_is_no_json_in_utf8_cannot_be_parsed(
    caller: Caller, path: str, content: bytes
) -> None:
    assert problem(caller.post(path, content=content)) == UNPARSABLE


@pytest.mark.spec("rap-api:25", "rap-api:26")
@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ([], "[]"),
        (None, "None"),
        (1.5, "1.5"),
        ("text", "'text'"),
        (True, "True"),
        ([1, "a"], "[1, 'a']"),
    ],
)
def test_a_body_must_be_an_object(caller: Caller, path: str, body: Any, shown: str) -> None:
    assert problem(caller.post(path, content=json.dumps(body))) == (
        f"{WHOLE}{shown} is not of type 'object'"
    )


@pytest.mark.spec("rap-api:27", "rap-api:28")
@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("rap/status/", {}, "rap_ids"),
        ("rap/cancel/", {}, "rap_id"),
        ("rap/cancel/", {"rap_id": rap_id()}, "actions"),
    ],
)
def test_the_first_missing_property_is_named(
    caller: Caller, path: str, body: Any, name: str
) -> None:
    assert problem(caller.post(path, body)) == f"{WHOLE}'{name}' is a required property"


@pytest.mark.spec("rap-api:29")
@pytest.mark.parametrize("name", list(create_body()))
def test_each_missing_property_of_a_create_is_named(caller: Caller, name: str) -> None:
    assert problem(caller.create(**{name: ...})) == f"{WHOLE}'{name}' is a required property"
    everything = dict.fromkeys(create_body(), ...)
    assert problem(caller.create(**everything)) == f"{WHOLE}'backend' is a required property"


@pytest.mark.spec("rap-api:30")
def test_a_missing_property_is_told_before_a_wrong_one(caller: Caller) -> None:
    answer = caller.post("rap/create/", {"backend": 1, "rap_id": 2})
    assert problem(answer) == f"{WHOLE}'workspace' is a required property"


@pytest.mark.spec(
    "rap-api:31", "rap-api:32", "rap-api:33", "rap-api:34", "rap-api:35", "rap-api:45"
)
@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (None, "$.rap_ids: None is not of type 'array'"),
        ("aaaaaaaaaaaaaaa1", "$.rap_ids: 'aaaaaaaaaaaaaaa1' is not of type 'array'"),
        (["a"], "$.rap_ids[0]: 'a' does not match '^[a-z0-9]{16}$'"),
        (["x", "y", "z"], "$.rap_ids[2]: 'z' does not match '^[a-z0-9]{16}$'"),
        ([1], "$.rap_ids[0]: 1 is not of type 'string'"),
        (
            [rap_id(), "A" * 16, rap_id()],
            f"$.rap_ids[1]: '{'A' * 16}' does not match '^[a-z0-9]{{16}}$'",
        ),
        (["it's"], "$.rap_ids[0]: \"it's\" does not match '^[a-z0-9]{16}$'"),
        ([float("nan")], "$.rap_ids[0]: nan is not of type 'string'"),
    ],
)
def test_wrong_rap_ids_of_a_status(caller: Caller, ids: Any, text: str) -> None:
    assert problem(caller.post("rap/status/", content=json.dumps({"rap_ids": ids}))) == AT + text


@pytest.mark.spec("rap-api:36")
@pytest.mark.parametrize(
    ("actions", "text"),
    [
        ([], "$.actions: [] should be non-empty"),
        ([None], "$.actions[0]: None is not of type 'string'"),
        ({"a": False}, "$.actions: {'a': False} is not of type 'array'"),
    ],
)
def test_wrong_actions_of_a_cancel(caller: Caller, actions: Any, text: str) -> None:
    body = {"rap_id": rap_id(), "actions": actions}
    assert problem(caller.post("rap/cancel/", body)) == AT + text


DATASETS = (
    "['appointments', 'icnarc', 'isaric', 'open_prompt', 'ukrr', 'waiting_list', "
    "'sgss_covid_all_tests', 'occupation_on_covid_vaccine_record', 'covid_therapeutics']"
)


@pytest.mark.spec(
    "rap-api:37", "rap-api:38", "rap-api:39", "rap-api:40", "rap-api:41", "rap-api:42", "rap-api:44"
)
@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"rap_id": "x", "commit": "x", "database_name": "x"},
            "$.rap_id: 'x' does not match '^[a-z0-9]{16}$'",
        ),
        ({"database_name": "other"}, "$.database_name: 'other' is not one of ['default']"),
        ({"database_name": 1}, "$.database_name: 1 is not of type 'string'"),
        ({"codelists_ok": 1}, "$.codelists_ok: 1 is not of type 'boolean'"),
        (
            {"force_run_dependencies": "yes"},
            "$.force_run_dependencies: 'yes' is not of type 'boolean'",
        ),
        ({"commit": "A" * 40}, f"$.commit: '{'A' * 40}' does not match '^[0-9a-f]{{40}}$'"),
        ({"workspace": "!!"}, "$.workspace: '!!' does not match '[a-zA-Z0-9_-]+'"),
        ({"analysis_scope": None}, "$.analysis_scope: None is not of type 'object'"),
        (
            {"analysis_scope": {"dataset_permissions": ["nope"]}},
            f"$.analysis_scope.dataset_permissions[0]: 'nope' is not one of {DATASETS}",
        ),
        (
            {"analysis_scope": {"population_permissions": None}},
            "$.analysis_scope.population_permissions: None is not of type 'array'",
        ),
        (
            {"analysis_scope": {"component_access": ["x"]}},
            "$.analysis_scope.component_access[0]: 'x' is not one of ['event_level_data']",
        ),
        ({"requested_actions": []}, "$.requested_actions: [] should be non-empty"),
        ({"requested_actions": ["a", 2], "orgs": 1}, "$.orgs: 1 is not of type 'array'"),
        ({"created_by": None}, "$.created_by: None is not of type 'string'"),
    ],
)
def test_wrong_properties_of_a_create(caller: Caller, values: dict[str, Any], text: str) -> None:
    assert problem(caller.create(**values)) == AT + text


@given(
    st.dictionaries(
        st.sampled_from(list(create_body())),
        st.one_of(
            st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2)
        ),
    )
)
@settings(max_examples=60)
def test_whatever_is_sent_the_answer_has_error_and_details(
    site: httpx.Client, body: dict[str, Any]
) -> None:
    answer = Caller(site, "T-token").post("rap/create/", body)
    assert problem(answer).startswith("Invalid request body received")


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_text_that_no_database_could_hold_is_refused(caller: Caller, text: str) -> None:
    answer = caller.post("rap/create/", content=json.dumps(create_body(repo_url=text)))
    assert problem(answer) == f"{AT}$.repo_url: {text!r} holds a character that cannot be stored"


# --- what is accepted ---


@pytest.mark.spec("rap-api:46", "rap-api:47", "rap-api:48")
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
def test_the_content_type_does_not_matter(caller: Caller, kind: str) -> None:
    content = b'{"rap_ids": 5, "unknown": {"a": [1]}, "rap_ids": []}'
    answer = caller.post("rap/status/", content=content, headers={"Content-Type": kind})
    assert answer.json() == {"jobs": [], "unrecognised_rap_ids": []}


def test_a_deep_value_of_an_unknown_property_is_ignored(caller: Caller) -> None:
    content = b'{"rap_ids": [], "unknown": ' + b"[" * 500 + b"]" * 500 + b"}"
    assert caller.post("rap/status/", content=content).status_code == 200
