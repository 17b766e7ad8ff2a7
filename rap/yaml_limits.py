"""How much a YAML text may stand for, judged before anything is built from it.

An alias is a few characters that stand for all that its anchor holds, so that a text of some
hundred bytes can stand for gigabytes, and merge keys cost the cube of their number. Both are
counted here over the events of the parser, which never unfold anything.
"""

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError, YAMLStreamError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    ScalarEvent,
)

MOST_UNFOLDED = 50_000
"""Entries that all aliases of a text may stand for together."""
DEEPEST = 100
"""Levels; the parsers beneath us call themselves for each one."""


class StandsForTooMuch(ValueError):
    """A text that would come to far more than it is long; says so in a sentence."""


def check_limits(text: bytes) -> None:
    """Pass a text that stands for about what it says; one that is not YAML passes too.

    Raises:
        StandsForTooMuch: aliases and merge keys stand for too much, or levels are too deep.
    """
    # What is wrong with a text that is no YAML is told in better words by the parser that reads it.
    try:
        _count(text)
    except (YAMLError, YAMLStreamError, UnicodeError):
        return


def _count(text: bytes) -> None:
    sizes: dict[str, int] = {}
    within: list[tuple[str | None, int]] = []
    size = unfolded = 0
    for event in YAML(typ="safe", pure=False).parse(text):
        if isinstance(event, AliasEvent):
            if event.anchor not in sizes:
                raise StandsForTooMuch("An alias stands for something that holds the alias itself")
            size += sizes[event.anchor]
            unfolded += sizes[event.anchor]
            if unfolded > MOST_UNFOLDED:
                raise StandsForTooMuch(
                    f"The aliases and merge keys stand for more than {MOST_UNFOLDED:,} entries"
                )
        elif isinstance(event, ScalarEvent):
            size += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, CollectionStartEvent):
            within.append((event.anchor, size))
            sizes.pop(event.anchor, None)
            if len(within) > DEEPEST:
                raise StandsForTooMuch("The file is nested too deeply")
            size = 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = within.pop()
            if anchor:
                sizes[anchor] = size
            size += before
