"""Scores a guessing test: can a reader find a rule from the names of files alone?

The questions were drawn at random from the specifications, each with the modules in which its rule
is decided. Someone who has not seen the code answers them from the output of ``git ls-files``.

    python -m tools.guessing answers.json

``answers.json`` maps the number of a question to one path. Prints each miss and the score; the exit
code is 1 below :data:`TARGET`.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

QUESTIONS = Path(__file__).parents[1] / "tests" / "guessing" / "questions.json"
TARGET = 27
"""Of thirty."""


class Question(NamedTuple):
    """A rule to be found."""

    number: int
    text: str
    modules: tuple[str, ...]
    """Any of these is right."""


def questions(path: Path = QUESTIONS) -> list[Question]:
    """The questions, in their order."""
    return [
        Question(one["number"], one["question"], tuple(one["modules"]))
        for one in json.loads(path.read_text("utf-8"))
    ]


def misses(asked: list[Question], answers: dict[int, str]) -> list[Question]:
    """The questions whose answer is none of their modules, or that have none."""
    return [one for one in asked if answers.get(one.number) not in one.modules]


def main() -> int:
    """Print what was missed; the exit code."""
    answers = {
        int(number): path for number, path in json.loads(Path(sys.argv[1]).read_text()).items()
    }
    asked = questions()
    missed = misses(asked, answers)
    for one in missed:
        guess = answers.get(one.number, "no answer")
        print(f"{one.number}. {one.text}\n    guessed {guess}; it is in {' or '.join(one.modules)}")
    hits = len(asked) - len(missed)
    print(f"{hits} of {len(asked)}")
    return 0 if hits >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
