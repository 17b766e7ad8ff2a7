"""Questions before something that cannot be undone."""

import io
from typing import Any

import pytest

from cli import prompts
from cli.console import stdout
from rap.errors import RapError

pytestmark = pytest.mark.unit


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.mark.parametrize(
    ("answer", "agrees"),
    [("y\n", True), (" Y \n", True), ("n\n", False), ("", False), ("yes\n", False)],
)
def test_only_y_agrees(
    answer: Any, agrees: Any, answers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(answer)
    assert prompts.agrees(stdout()) is agrees
    assert capsys.readouterr().out.startswith("Are you sure you want to continue? (y/N) ")


def test_one_of_several_is_taken_by_its_number_and_other_answers_are_asked_again(
    answers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answers("0\nx\n3\n2\n")
    assert prompts.pick(stdout(), ["a", "b"]) == "b"
    assert capsys.readouterr().out.count("Enter a number from 1 to 2.") == 3


def test_where_nobody_answers_nothing_is_picked(answers: Any) -> None:
    answers("")
    with pytest.raises(RapError, match="No answer came; nothing was done"):
        prompts.pick(stdout(), ["a", "b"])
