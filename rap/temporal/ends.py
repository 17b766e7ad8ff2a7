"""How a workflow closes so that its close status tells what came of it.

What failed closes as Failed, with a sentence for people and its end for programs. It is no alarm:
the category keeps it out of the logs and figures of failing workers.
"""

from collections.abc import Iterator
from typing import TypeVar

from pydantic import ValidationError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from rap.models import Model
from rap.status import StatusCode

LONGEST_SENTENCE = 4096
"""Bytes of the message of a failure."""

LARGEST_END = 64 * 1024
"""Bytes of what a failure carries, as it is stored."""

End = TypeVar("End", bound=Model)

_CUT = "…"


def failed_end(sentence: str, code: StatusCode, end: Model) -> ApplicationError:
    """The error that ends a workflow whose work failed; its ``end`` is read by :func:`end_in`."""
    return ApplicationError(
        _fit(sentence),
        end,
        type=code.value,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


def end_in(error: BaseException | None, kind: type[End]) -> End | None:
    """The end that a failed workflow told of itself; ``None`` if it failed in another way.

    The error is the one from :func:`failed_end`, or has it as its cause, as a parent and a client
    see it.
    """
    for cause in _causes(error):
        if not isinstance(cause, ApplicationError) or not cause.details:
            continue
        told = cause.details[0]
        if isinstance(told, kind):
            return told
        try:
            return kind.model_validate(told)
        except ValidationError:
            # Of something else that failed inside.
            continue
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _fit(sentence: str) -> str:
    if len(sentence.encode()) <= LONGEST_SENTENCE:
        return sentence
    room = LONGEST_SENTENCE - len(_CUT.encode())
    return sentence.encode()[:room].decode(errors="ignore") + _CUT
