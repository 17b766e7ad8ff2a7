"""Checks what the code and the pages refer to: ``python -m tools.citations``.

A reference is wrong when it names

- a section of ``docs/spec`` that does not exist (``docs/spec/controller.md`` and a number, or a
  list of numbers), or an acceptance item that does not (``agent:36``, in a marker too);
- a section by number in any other form: only the specifications number theirs;
- by a relative link, a file that does not exist, or a heading that is not in it;
- a page in ``docs``, or in the inline code of a page a path into this project, that does not exist.

Prints one line for each, with its place, and fails if there is any.
"""

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from posixpath import dirname, join, normpath

from tools import spec_coverage
from tools.specifications import DOCUMENTS, FOLDER, Item, Specification, known_items, read
from tools.tracked import project_files

_ROOT = Path(__file__).parent.parent
_SPECIFICATIONS = frozenset(f"{FOLDER}/{document}.md" for document in DOCUMENTS)
_READ = frozenset({".py", ".md", ".sh", ".toml", ""})
_FOLDERS = (
    *("rap", "cli", "workflows", "activities", "api", "worker_controller", "worker_agent"),
    *("infra", "tests", "tools", "docs", "scripts", "bench"),
)
_NOT_PATHS = re.compile(r"rap/(create|cancel|status|([\w-]+/)?[a-z2-7]{16})|.*[<>{}$…].*")
"""Addresses of the API, ids of workflows, and what holds a place for something."""
_ABOUT_OTHER_TREES = frozenset({"CHANGELOG.md", spec_coverage.PAGE, *_SPECIFICATIONS})
"""Pages about what was, or that quote the specifications: their paths need not exist."""

# A citation may go over the end of a line, in a comment too.
_GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:#+[ \t]+)?)"
_NUMBER = r"(?:[AB]?\d+(?:\.\d+)*|[AB])(?!\w|\.\d)"
_BETWEEN = rf"(?:,{_GAP}and{_GAP}|,{_GAP}|{_GAP}and{_GAP}|{_GAP}to{_GAP}|[-\u2013])"
_CITATION = re.compile(
    rf"(?<![\w.-])(?P<page>[\w./-]*\w\.md)`?{_GAP}"
    rf"(?:(?:part|appendix){_GAP})?(?P<numbers>{_NUMBER}(?:{_BETWEEN}{_NUMBER})*)"
)
_ITEM = re.compile(rf"(?<![\w/.-])(?:{'|'.join(DOCUMENTS)}):\d+\b")
_PAGE_NAME = re.compile(r"(?<![\w./-])docs/[\w./-]*\w\.md\b")

_FENCE = re.compile(r"^ *(```+|~~~+).*?^ *\1[`~]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n\n).)+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^ *\[[^\]\n]+\]: +(\S+)", re.MULTILINE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)?$", re.MULTILINE)
_ANCHOR = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")


@dataclass(frozen=True, order=True)
class Problem:
    """A reference that leads nowhere."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Tree:
    """All that the rules look at."""

    texts: Mapping[str, str]
    """What the files say that are read, by path."""
    specifications: Mapping[str, Specification]
    paths: Collection[str] = field(default_factory=frozenset)
    """Every file of the project, those that are not read too."""

    @cached_property
    def items(self) -> Mapping[str, Item]:
        """The acceptance items by name."""
        return known_items(self.specifications)

    @cached_property
    def places(self) -> frozenset[str]:
        """The files and the folders that they are in."""
        files = {*self.paths, *self.texts}
        return frozenset(files | {folder for name in files for folder in _folders_of(name)} | {"."})


@dataclass(frozen=True)
class File:
    """One of them that is looked at."""

    name: str
    text: str


Rule = Callable[[File, Tree], Iterator[tuple[int, str]]]
"""Where in the text of a file something is wrong, and what."""


def problems(tree: Tree) -> list[Problem]:
    """Everything that leads nowhere, in the order of the files."""
    return sorted(
        {
            Problem(name, text.count("\n", 0, position) + 1, complaint)
            for name, text in tree.texts.items()
            for rule in _rules_for(name)
            for position, complaint in rule(File(name, text), tree)
        }
    )


def _rules_for(name: str) -> list[Rule]:
    """The specifications describe another system: only their links are looked at."""
    rules: list[Rule] = [] if name in _SPECIFICATIONS else [citations, items]
    if name not in _ABOUT_OTHER_TREES:
        rules.append(pages)
    if name.endswith(".md"):
        rules.append(links)
        if ("/" not in name or name.startswith("docs/")) and name not in _ABOUT_OTHER_TREES:
            rules.append(paths)
    if name.startswith("tests/") and name.endswith(".py"):
        rules.append(markers)
    return rules


def citations(file: File, tree: Tree) -> Iterator[tuple[int, str]]:
    """Sections by number: in the one form, of a specification, and there."""
    for found in _CITATION.finditer(file.text):
        page = found["page"]
        document = page.removeprefix(f"{FOLDER}/").removesuffix(".md")
        if page == f"{document}.md" and document in DOCUMENTS:
            yield found.start(), f"write {FOLDER}/{page} {found['numbers']}"
        elif page not in _SPECIFICATIONS:
            yield found.start(), f"{page} does not number its sections ({found['numbers']})"
        else:
            known = tree.specifications[document].sections
            for number in re.finditer(_NUMBER, found["numbers"]):
                if number[0] not in known:
                    yield found.start("numbers") + number.start(), f"{page} has no {number[0]}"


def items(file: File, tree: Tree) -> Iterator[tuple[int, str]]:
    """Acceptance items, in markers and anywhere else."""
    for found in _ITEM.finditer(file.text):
        if found[0] not in tree.items:
            yield found.start(), f"{FOLDER} has no item {found[0]}"


def markers(file: File, tree: Tree) -> Iterator[tuple[int, str]]:
    """Markers of tests that name anything but an item."""
    for claim in spec_coverage.claims(file.name, file.text):
        if claim.item not in tree.items:
            start = sum(map(len, file.text.splitlines(keepends=True)[: claim.line - 1]))
            yield start, f"{FOLDER} has no item {claim.item}"


def pages(file: File, tree: Tree) -> Iterator[tuple[int, str]]:
    """Pages named by their path from the root, wherever."""
    for found in _PAGE_NAME.finditer(file.text):
        if found[0] not in tree.places:
            yield found.start(), f"{found[0]} does not exist"


def links(file: File, tree: Tree) -> Iterator[tuple[int, str]]:
    """Relative links of a page, outside of code."""
    for found in _LINK.finditer(_CODE.sub(_blank, _FENCE.sub(_blank, file.text))):
        link = found[1] or found[2]
        if _SCHEME.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = normpath(join(dirname(file.name), path)) if path else file.name
        if target not in tree.places:
            yield found.start(), f"the link {link} leads to no file"
        elif anchor and anchor not in anchors(tree.texts.get(target, "")):
            yield found.start(), f"the link {link} leads to no heading"


def paths(file: File, tree: Tree) -> Iterator[tuple[int, str]]:
    """Paths into the project in the inline code of a page."""
    for found in _CODE.finditer(_FENCE.sub(_blank, file.text)):
        for word in re.finditer(r"\S+", found[2]):
            path = word[0].removeprefix("./").partition("::")[0].rstrip("/,;:.")
            if not path.startswith(tuple(f"{folder}/" for folder in _FOLDERS)):
                continue
            if _NOT_PATHS.fullmatch(path) or path in tree.places:
                continue
            if not any(fnmatchcase(place, path) for place in tree.places):
                yield found.start(2) + word.start(), f"{path} does not exist"


def anchors(text: str) -> set[str]:
    """What may follow ``#`` in a link to a page, by the rules of GitHub."""
    found = set(_ANCHOR.findall(text))
    for heading in _HEADING.findall(_FENCE.sub(_blank, text)):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        same = next(n for n in range(len(text)) if (f"{slug}-{n}" if n else slug) not in found)
        found.add(f"{slug}-{same}" if same else slug)
    return found


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def _folders_of(name: str) -> Iterator[str]:
    while name := dirname(name):
        yield name


def tree(root: Path) -> Tree:
    """The tree at ``root``."""
    known = project_files(root)
    return Tree(
        texts={
            name: (root / name).read_text()
            for name in known
            if Path(name).suffix in _READ and not Path(name).name.startswith(".git")
        },
        specifications=read(root),
        paths=known,
    )


def main() -> int:
    """Print what leads nowhere; the exit status."""
    wrong = problems(tree(_ROOT))
    sys.stdout.writelines(f"{one}\n" for one in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
