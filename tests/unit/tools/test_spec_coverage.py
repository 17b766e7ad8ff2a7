"""What is said to be covered is: by a test that names the item, or by a reason."""

from typing import Any

import pytest

from tools.spec_coverage import Claim, Coverage, claims, page
from tools.specifications import Item, parse

pytestmark = pytest.mark.unit

TESTS = """\
import pytest

pytestmark = [pytest.mark.unit, pytest.mark.spec("agent:1")]


@pytest.mark.spec("agent:2", "agent:3")
async def test_a(): ...


@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.spec("agent:4")), 2])
def test_b(x): ...


@pytest.mark.spec("agent:5")
class TestC:
    pytestmark = pytest.mark.spec("agent:6")

    @pytest.mark.spec("agent:7")
    def test_d(self): ...
"""


def known(*found: Claim, **deviations: Any) -> Coverage:
    items = [Item("agent", number, "A group", f"Item {number} | x <y> `<z>`") for number in (1, 2)]
    return Coverage({item.name: item for item in items}, found, deviations)


def test_a_claim_is_found_at_every_level() -> None:
    assert [(claim.item, claim.test) for claim in claims("tests/x.py", TESTS)] == [
        ("agent:1", ""),
        ("agent:2", "test_a"),
        ("agent:3", "test_a"),
        ("agent:4", "test_b"),
        ("agent:5", "TestC"),
        ("agent:6", "TestC"),
        ("agent:7", "test_d"),
    ]


def test_a_claim_of_no_item_is_a_problem() -> None:
    wrong = "agent" + ":900"
    assert known(Claim(wrong, "tests/x.py", 3, "test_a")).problems() == [
        f"tests/x.py:3: the marker names '{wrong}', which is no item of docs/spec"
    ]
    assert len(known(**{wrong: "a reason"}).problems()) == 1
    assert known(Claim("agent:1", "tests/x.py", 3, "test_a")).problems() == []


def test_what_is_tested_does_not_count_as_a_deviation_too() -> None:
    counts = known(Claim("agent:1", "tests/x.py", 3, "test_a"), **{"agent:1": "why"}).of("agent")
    assert (counts.total, counts.tested, counts.deviated) == (2, 1, 0)
    assert counts.missing == ["agent:2"]


def test_the_page_shows_tests_reasons_and_what_is_missing() -> None:
    claim = Claim("agent:1", "tests/unit/x.py", 3, "test_a")
    text = page(known(claim, claim, **{"agent:1": "why"}))
    row, other = [line for line in text.splitlines() if line.startswith("| `agent:")]
    assert row == (
        "| `agent:1` | Item 1 \\| x &lt;y> `<z>` | "
        "[unit/x.py](../../tests/unit/x.py)::`test_a`<br>Deviation: why |"
    )
    assert other.endswith("| **missing** |")
    assert "2 items: 1 tested, 0 deviations, 1 missing." in text


def test_items_are_those_of_the_acceptance_list_alone() -> None:
    text = "# X\n\n1. No.\n\n## 20. Acceptance list\n\n### First\n1. One.\n\n**Second**\n\n2. Two."
    assert [(item.name, item.group, item.text) for item in parse("agent", text).items] == [
        ("agent:1", "First", "One."),
        ("agent:2", "Second", "Two."),
    ]
