"""Waiting for a service that is away."""

from collections.abc import Callable
from typing import Any

import pytest

from rap.errors import ConfigurationError, Unavailable
from rap.waiting import until_it_answers

pytestmark = pytest.mark.unit


def failing(*errors: Exception) -> Callable[..., Any]:
    """Something that fails with each of the errors in turn, and answers after them."""
    left = list(errors)

    async def ask() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return ask


async def test_it_is_said_once_what_is_waited_for() -> None:
    told: list[str] = []
    ask = failing(Unavailable("it is away"), Unavailable("it is still away"))
    assert await until_it_answers(ask, on_wait=told.append) == "answer"
    assert told == ["it is away"]


async def test_nothing_is_said_where_the_answer_comes_at_once() -> None:
    told: list[str] = []
    assert await until_it_answers(failing(), on_wait=told.append) == "answer"
    assert told == []


async def test_another_error_ends_the_waiting() -> None:
    with pytest.raises(ConfigurationError, match="wrong"):
        await until_it_answers(
            failing(Unavailable("away"), ConfigurationError("wrong")), on_wait=lambda _: None
        )


async def test_a_function_that_only_returns_what_is_to_be_awaited_is_asked_again_as_well() -> None:
    ask = failing(Unavailable("away"))
    assert await until_it_answers(lambda: ask(), on_wait=lambda _: None) == "answer"
