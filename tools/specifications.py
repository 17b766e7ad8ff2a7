"""The specifications in ``docs/spec``: their numbered sections and acceptance items."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = "docs/spec"
DOCUMENTS = ("controller", "agent", "rap-api")

_HEADING = re.compile(r"#+ (.*)")
_ACCEPTANCE = re.compile(r"acceptance list", re.IGNORECASE)
_NUMBER = re.compile(r"(?:Part |Appendix )?([A-Z]?\d+(?:\.\d+)*|[A-Z](?=\.))[. ]")
_ITEM = re.compile(r"(\d+)\. (.*)")


@dataclass(frozen=True)
class Item:
    """One line of an acceptance list."""

    document: str
    number: int
    group: str
    text: str

    @property
    def name(self) -> str:
        """As it is cited: ``agent:36``."""
        return f"{self.document}:{self.number}"


@dataclass(frozen=True)
class Specification:
    """What may be cited of one document."""

    sections: frozenset[str]
    items: tuple[Item, ...]


def read(root: Path) -> dict[str, Specification]:
    """All specifications, by the names of their documents."""
    return {
        document: parse(document, (root / FOLDER / f"{document}.md").read_text())
        for document in DOCUMENTS
    }


def parse(document: str, text: str) -> Specification:
    """The numbered parts of one document."""
    lines = list(_outside_fences(text))
    headings = [(at, found[1]) for at, line in enumerate(lines) if (found := _HEADING.match(line))]
    start = next((at for at, title in headings if _ACCEPTANCE.search(title)), len(lines))
    return Specification(
        sections=frozenset(found[1] for _, title in headings if (found := _NUMBER.match(title))),
        items=tuple(_items(document, lines[start + 1 :])),
    )


def known_items(specifications: Mapping[str, Specification]) -> dict[str, Item]:
    """All items by name, in the order of the documents."""
    return {item.name: item for one in specifications.values() for item in one.items}


def _items(document: str, lines: list[str]) -> Iterator[Item]:
    """Items under the last line that was none: a group's title, in whatever dress."""
    group = ""
    for line in lines:
        if found := _ITEM.match(line):
            yield Item(document, int(found[1]), group, found[2].strip())
        elif line.strip():
            group = line.strip("#* ")


def _outside_fences(text: str) -> Iterator[str]:
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield line
