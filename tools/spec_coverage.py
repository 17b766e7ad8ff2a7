"""Which acceptance items of ``docs/spec`` have a test, a recorded deviation, or neither.

``scripts/spec-coverage`` prints the numbers. A test claims items with a marker, in a decorator, at
a parameter set, at a class or for its whole module::

    @pytest.mark.spec("controller:42", "agent:7")

A deviation is a line ``- controller:42 the reason`` in ``docs/reference/deviations.md``.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tools.specifications import DOCUMENTS, FOLDER, Item, known_items, read
from tools.tracked import project_files

PAGE = "docs/reference/spec.md"
DEVIATIONS = "docs/reference/deviations.md"

_ROOT = Path(__file__).parent.parent
_DEVIATION = re.compile(rf"^[-*] +`?((?:{'|'.join(DOCUMENTS)}):\d+)`? +(.+)", re.MULTILINE)

_HEAD = """\
# Specifications, item by item

Each acceptance item of the [specifications](../spec/index.md), with the tests that claim it by
`@pytest.mark.spec`, or the reason why this product does otherwise
([deviations](deviations.md)).

This page is made from the tests by `just fix`.
"""


@dataclass(frozen=True)
class Claim:
    """A marker names an item."""

    item: str
    file: str
    line: int
    test: str
    """The function or class; empty when the whole module claims it."""


@dataclass(frozen=True)
class Coverage:
    """The items, and what is known about each."""

    items: Mapping[str, Item]
    claims: tuple[Claim, ...]
    deviations: Mapping[str, str]

    def tests_of(self, item: str) -> list[Claim]:
        """The claims of one item, each test once."""
        found = {
            (claim.file, claim.test): claim
            for claim in sorted(self.claims, key=lambda one: (one.file, one.line))
            if claim.item == item
        }
        return list(found.values())

    def of(self, document: str) -> "Counts":
        """What is tested, deviated from and missing in one document."""
        names = [name for name, item in self.items.items() if item.document == document]
        claimed = {claim.item for claim in self.claims}
        tested = [name for name in names if name in claimed]
        deviated = [name for name in names if name in self.deviations and name not in claimed]
        return Counts(
            total=len(names),
            tested=len(tested),
            deviated=len(deviated),
            missing=[name for name in names if name not in {*tested, *deviated}],
        )

    def problems(self) -> list[str]:
        """What names an item that does not exist, with its place."""
        wrong = [
            f"{claim.file}:{claim.line}: the marker names {claim.item!r}, which is no item of "
            f"{FOLDER}"
            for claim in self.claims
            if claim.item not in self.items
        ]
        return wrong + [
            f"{DEVIATIONS}: {name} is no item of {FOLDER}"
            for name in self.deviations
            if name not in self.items
        ]


@dataclass(frozen=True)
class Counts:
    """How many items of a document are tested, deviated from, or neither."""

    total: int
    tested: int
    deviated: int
    missing: list[str]


def coverage(root: Path) -> Coverage:
    """How the tree at ``root`` stands."""
    tests = [name for name in project_files(root) if name.startswith("tests/")]
    return Coverage(
        items=known_items(read(root)),
        claims=tuple(
            claim
            for name in sorted(tests)
            if name.endswith(".py")
            for claim in claims(name, (root / name).read_text())
        ),
        deviations=dict(_DEVIATION.findall((root / DEVIATIONS).read_text())),
    )


def claims(file: str, text: str) -> Iterator[Claim]:
    """The claims in one file of tests."""
    for statement in ast.parse(text).body:
        yield from _claims(statement, file)


def _claims(node: ast.stmt, file: str) -> Iterator[Claim]:
    """Those of a function or class, in its decorators; elsewhere those of the module."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield from _marked(node.decorator_list, file, node.name)
    else:
        yield from _marked([node], file, "")
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _claims(inner, file)
            else:
                yield from _marked([inner], file, node.name)


def _marked(nodes: Iterable[ast.AST], file: str, test: str) -> Iterator[Claim]:
    for node in nodes:
        for call in ast.walk(node):
            if not (isinstance(call, ast.Call) and _is_the_marker(call.func)):
                continue
            for argument in call.args:
                text = argument.value if isinstance(argument, ast.Constant) else "an expression"
                yield Claim(str(text), file, argument.lineno, test)


def _is_the_marker(called: ast.expr) -> bool:
    return (
        isinstance(called, ast.Attribute)
        and called.attr == "spec"
        and isinstance(called.value, ast.Attribute)
        and called.value.attr == "mark"
    )


def page(known: Coverage) -> str:
    """The whole page."""
    parts = [_HEAD]
    for document in DOCUMENTS:
        counts = known.of(document)
        parts.append(
            f"\n## {document}\n\n{counts.total} items: {counts.tested} tested, "
            f"{counts.deviated} deviations, {len(counts.missing)} missing.\n"
        )
        group = ""
        for item in known.items.values():
            if item.document != document:
                continue
            if item.group != group:
                group = item.group
                parts.append(f"\n### {group}\n\n| Item | | Tests |\n|---|---|---|\n")
            parts.append(f"| `{item.name}` | {_cell(item.text)} | {_cell(_proof(known, item))} |\n")
    return "".join(parts)


def _proof(known: Coverage, item: Item) -> str:
    proofs = [_link(claim) for claim in known.tests_of(item.name)]
    if item.name in known.deviations:
        proofs.append(f"Deviation: {known.deviations[item.name]}")
    return "<br>".join(proofs) or "**missing**"


def _link(claim: Claim) -> str:
    test = f"::`{claim.test}`" if claim.test else ""
    return f"[{claim.file.removeprefix('tests/')}](../../{claim.file}){test}"


def _cell(text: str) -> str:
    """A text as it stands in a table: no bar ends it, and no ``<word>`` is taken for a tag."""
    parts = text.replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("&lt;br>", "<br>") for part in parts[::2]]
    return "`".join(parts)


def main(
    *,
    missing: Annotated[bool, typer.Option(help="List the items that have neither.")] = False,
    doc: Annotated[str | None, typer.Option(help=f"One document: {', '.join(DOCUMENTS)}.")] = None,
    least: Annotated[
        float, typer.Option("--min", help="Percent that must have a test or a deviation.")
    ] = 0.0,
    write: Annotated[bool, typer.Option(help=f"Make {PAGE} again.")] = False,
    check: Annotated[bool, typer.Option(help=f"Fail if {PAGE} is not up to date.")] = False,
) -> None:
    """Count which acceptance items have a test, a recorded deviation, or neither."""
    if doc is not None and doc not in DOCUMENTS:
        raise typer.BadParameter(f"{doc} is not one of {', '.join(DOCUMENTS)}", param_hint="--doc")
    known = coverage(_ROOT)
    problems = known.problems()
    if write:
        (_ROOT / PAGE).write_text(page(known))
        typer.echo(f"{Path(PAGE).name} is up to date")
    elif check:
        if not (_ROOT / PAGE).exists() or (_ROOT / PAGE).read_text() != page(known):
            problems.append(f"{PAGE} is not what the tests say: run `just fix`")
    else:
        problems += _tell([doc] if doc else DOCUMENTS, known, least=least, missing=missing)
    for problem in problems:
        typer.echo(problem, err=True)
    raise typer.Exit(1 if problems else 0)


def _tell(documents: Iterable[str], known: Coverage, *, least: float, missing: bool) -> list[str]:
    total = covered = 0
    for document in documents:
        counts = known.of(document)
        total += counts.total
        covered += counts.total - len(counts.missing)
        typer.echo(
            f"{document:10} {counts.total:4} items  {counts.tested:4} tested  "
            f"{counts.deviated:4} deviations  {len(counts.missing):4} missing"
        )
        for name in counts.missing if missing else ():
            typer.echo(f"  {name}  {known.items[name].text}")
    share = 100 * covered / total if total else 0.0
    typer.echo(f"covered {share:.1f} %")
    return [] if share >= least else [f"less than {least:g} % is covered"]


if __name__ == "__main__":
    typer.run(main)
