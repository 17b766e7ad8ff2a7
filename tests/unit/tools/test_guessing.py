"""The guessing test of the layout: its questions name modules that exist, and it counts right."""

from pathlib import Path

import pytest

from tools.guessing import Question, misses, questions

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


def test_every_question_names_modules_that_exist() -> None:
    asked = questions()
    assert [one.number for one in asked] == list(range(1, 31))
    assert [path for one in asked for path in one.modules if not (ROOT / path).is_file()] == []


def test_an_answer_is_right_if_it_is_one_of_the_modules() -> None:
    first, second, third = (Question(number, "?", ("a.py", "b.py")) for number in (1, 2, 3))
    assert misses([first, second, third], {1: "b.py", 2: "c.py"}) == [second, third]
