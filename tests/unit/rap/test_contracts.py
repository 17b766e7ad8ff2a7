"""Whatever is called by name has one contract and every contract one implementation, of the same
types. Temporal finds a mistake of this kind only when it happens.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from types import FunctionType, NoneType
from typing import Any, get_args

import pytest
from temporalio import activity, workflow

import activities
from rap.contracts import activities as activity_contracts
from rap.contracts import workflows as workflow_contracts
from rap.contracts.kinds import Activity, Query, Signal, Update, Workflow
from worker_controller.worker import WORKFLOWS

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
ACTIVITIES = [one for one in vars(activity_contracts).values() if isinstance(one, Activity)]
KINDS = [one for one in vars(workflow_contracts).values() if isinstance(one, Workflow)]
MESSAGES = [
    one for one in vars(workflow_contracts).values() if isinstance(one, Signal | Update | Query)
]


def types_of(function: Callable[..., Any]) -> tuple[list[Any], Any]:
    """What a method takes beside itself, and returns."""
    signature = inspect.signature(function, eval_str=True)
    arguments = [one.annotation for one in list(signature.parameters.values())[1:]]
    result = signature.return_annotation
    return arguments, NoneType if result is None else result


# --- activities ---


def implementations() -> Iterator[tuple[str, FunctionType]]:
    """All that is registered as an activity in the product, with its name."""
    for module in pkgutil.walk_packages(activities.__path__, "activities."):
        for kind in vars(importlib.import_module(module.name)).values():
            if not isinstance(kind, type) or kind.__module__ != module.name:
                continue
            for method in filter(inspect.isfunction, vars(kind).values()):
                found = activity._Definition.from_callable(method)
                if found is not None and found.name is not None:
                    yield found.name, method


def test_every_activity_has_one_contract_and_every_contract_one_activity() -> None:
    registered = sorted(name for name, _ in implementations())
    assert registered == sorted(one.name for one in ACTIVITIES)


@pytest.mark.parametrize("contract", ACTIVITIES, ids=lambda one: one.name)
def test_an_activity_takes_and_returns_what_its_contract_says(contract: Activity[Any, Any]) -> None:
    method = dict(implementations())[contract.name]
    assert types_of(method) == ([contract.argument], contract.result)


# --- workflows and their messages ---


def definition(implementation: type) -> Any:
    return workflow._Definition.must_from_class(implementation)


def test_every_workflow_has_one_contract_and_every_contract_one_workflow() -> None:
    assert sorted(definition(one).name for one in WORKFLOWS) == sorted(one.name for one in KINDS)


@pytest.mark.parametrize("implementation", WORKFLOWS, ids=lambda one: one.__name__)
def test_a_workflow_takes_and_returns_what_its_contract_says(implementation: type) -> None:
    found = definition(implementation)
    (contract,) = [one for one in KINDS if one.name == found.name]
    assert types_of(found.run_fn) == ([contract.argument], contract.result)


@pytest.mark.parametrize("implementation", WORKFLOWS, ids=lambda one: one.__name__)
def test_the_handlers_of_a_workflow_are_those_of_its_contracts(implementation: type) -> None:
    found = definition(implementation)
    own = [one for one in MESSAGES if one.workflow.name == found.name]
    handled: dict[Any, Any] = {
        **{(Signal, name): types_of(one.fn) for name, one in found.signals.items()},
        **{(Update, name): types_of(one.fn) for name, one in found.updates.items()},
        **{(Query, name): types_of(one.fn) for name, one in found.queries.items()},
    }
    assert handled == {(type(one), one.name): promised(one) for one in own}
    assert len(handled) == len(own)


def promised(contract: Signal[Any] | Update[Any, Any] | Query[Any]) -> tuple[list[Any], Any]:
    if isinstance(contract, Query):
        return [], contract.result
    return [contract.argument], contract.result if isinstance(contract, Update) else NoneType


SENDERS = r"\w*signal|query|\w*update|start\w*_workflow|defn|order|tell_\w+"
NAMES = "|".join(re.escape(one.name) for one in (*KINDS, *MESSAGES))
BY_HAND = re.compile(rf"""\b(?:{SENDERS})(?:\(|=)\s*["'](?:{NAMES})["']""")
FOLDERS = (
    *("rap", "cli", "workflows", "activities", "api", "worker_controller", "worker_agent"),
    *("infra", "bench", "tests"),
)


def test_no_name_of_a_workflow_or_a_message_is_written_out_where_it_is_sent() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for match in BY_HAND.finditer(path.read_text())
    ]
    assert found == []


# --- what is written of them ---

PAGE = (ROOT / "docs/reference/wire.md").read_text()


def rows_under(heading: str) -> list[list[str]]:
    """The rows of the table of a section, without its head."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines
    ]


def shown(kind: Any) -> str:
    if kind is NoneType:
        return ""
    return re.sub(r"\brap\.[\w.]+\.", "", str(kind)) if get_args(kind) else kind.__name__


def test_the_names_on_the_wire_are_those_of_the_reference() -> None:
    whole: list[Any] = [*KINDS, *ACTIVITIES]
    calls = [
        [type(one).__name__.lower(), "", one.name, shown(one.argument), shown(one.result)]
        for one in whole
    ]
    for one in MESSAGES:
        arguments, result = promised(one)
        argument = shown(arguments[0]) if arguments else ""
        calls.append(
            [type(one).__name__.lower(), one.workflow.name, one.name, argument, shown(result)]
        )
    assert sorted(rows_under("Names")) == sorted(calls)


def enums_in(kind: Any, seen: set[Any]) -> Iterator[type[StrEnum]]:
    """The enums that a value of this type may carry, however deep."""
    if kind in seen:
        return
    seen.add(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        yield kind
    fields = kind.model_fields.values() if hasattr(kind, "model_fields") else ()
    for part in (*get_args(kind), *(field.annotation for field in fields)):
        yield from enums_in(part, seen)


def test_the_words_on_the_wire_and_what_counts_for_unknown_ones_are_in_the_reference() -> None:
    seen: set[Any] = set()
    carried = [
        enum
        for one in (*KINDS, *MESSAGES, *ACTIVITIES)
        for kind in (getattr(one, "argument", None), getattr(one, "result", None))
        for enum in enums_in(kind, seen)
    ]
    written = {row[0]: row[1:] for row in rows_under("Words")}
    assert {name: row[0] for name, row in written.items()} == {
        enum.__name__: ", ".join(word or "(empty)" for word in enum) for enum in carried
    }
    assert all(all(row) for row in written.values())
