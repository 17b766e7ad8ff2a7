"""The matcher of request_bodies says yes where the validator does, and nowhere else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from api import request_bodies
from api.schema_matcher import matcher
from tests.unit.api.conftest import create_body

pytestmark = pytest.mark.unit

SCHEMAS = {
    "create": request_bodies.CREATE,
    "cancel": request_bodies.CANCEL,
    "status": request_bodies.STATUS,
}
TEXTS = st.sampled_from(
    ["a" * 16, "a" * 16 + "\n", "A", "", "default", "w x", "!", "0" * 40, "ukrr"]
)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(0, 1) | st.just(1.0),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dataset_permissions", "population_permissions", "other"]),
            inner,
            max_size=2,
        )
    ),
    max_leaves=5,
)


def is_valid(schema: dict[str, Any], value: object) -> bool:
    return not list(Draft202012Validator(schema).iter_errors(value))


@pytest.mark.parametrize("name", SCHEMAS)
@given(data=st.data())
def test_both_agree_about_bodies_with_something_changed(name: str, data: st.DataObject) -> None:
    schema = SCHEMAS[name]
    members = list(schema["properties"])
    body = {each: value for each, value in create_body().items() if each in members}
    body |= {"actions": ["a"]} if name == "cancel" else {}
    body |= {"rap_ids": [body.get("rap_id", "a" * 16)]} if name == "status" else {}
    changes = st.dictionaries(st.sampled_from([*members, "unknown"]), VALUES, max_size=2)
    body.update(data.draw(changes))
    for gone in data.draw(st.sets(st.sampled_from(members), max_size=1)):
        body.pop(gone, None)
    assert matcher(schema)(body) is is_valid(schema, body)


@pytest.mark.parametrize("name", SCHEMAS)
@given(value=VALUES)
def test_both_agree_about_anything(name: str, value: object) -> None:
    assert matcher(SCHEMAS[name])(value) is is_valid(SCHEMAS[name], value)


def test_a_schema_that_it_does_not_understand_is_refused() -> None:
    with pytest.raises(ValueError, match="maxLength"):
        matcher({"type": "string", "maxLength": 3})
