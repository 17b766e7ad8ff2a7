"""What the code and the pages refer to is there, or the checker says where it is not."""

from pathlib import Path
from typing import Any

import pytest

from tools import citations
from tools.specifications import DOCUMENTS, parse

pytestmark = pytest.mark.unit

SPECIFICATION = """\
# The controller

## 9. Scheduling

### 9.4 Pending jobs

```
## 9.9 Not a heading
```

## A6. Creating

# Part B. The client

## Appendix A. Acceptance list

**Identifiers**

1. One.
2. Two | three.
"""
NEW = "docs/spec/controller.md"
OLD = "controller.md"  # never with a number behind it: this file is checked too


def complaints(name: str, text: str, **others: Any) -> list[str]:
    """What the checker says about a file, in a tree with a few others."""
    known = {document: parse(document, SPECIFICATION) for document in DOCUMENTS}
    files = {"docs/spec/controller.md": "", "rap/status.py": "", "docs/how-to/agent.md": "# A\n"}
    tree = citations.Tree(texts={**files, **others, name: text}, specifications=known)
    return [str(problem).removeprefix(f"{name}:") for problem in citations.problems(tree)]


@pytest.mark.parametrize(
    "text",
    [
        f"({NEW} 9)",
        f"({NEW} 9.4).",
        f"as {NEW} 9, 9.4 say",
        f"({NEW} 9 and 9.4)",
        f"({NEW} 9, 9.4, and A6)",
        f"({NEW} 9-9.4)",
        f"({NEW} A6), ({NEW} A), {NEW} part B",
        f"# see {NEW}\n    # 9.4",
        f"the whole of {NEW} counts",
        f"`{NEW}` 9.4",
        f"the {NEW} 2nd edition",
    ],
)
def test_sections_that_are_there(text: str) -> None:
    assert complaints("rap/x.py", text) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (f"({NEW} 8)", "1: docs/spec/controller.md has no 8"),
        (f"one\n({NEW} 9.5)", "2: docs/spec/controller.md has no 9.5"),
        (f"({NEW} 9, 9.44)", "1: docs/spec/controller.md has no 9.44"),
        (f"({NEW} 9,\n9.9)", "2: docs/spec/controller.md has no 9.9"),
        (f"({NEW} 9, and 12)", "1: docs/spec/controller.md has no 12"),
        (f"({NEW} 9 and 10)", "1: docs/spec/controller.md has no 10"),
        (f"({NEW} 9 to 11)", "1: docs/spec/controller.md has no 11"),
        (f"# see {NEW}\n    # A7", "2: docs/spec/controller.md has no A7"),
    ],
)
def test_sections_that_are_not_there(text: str, missing: str) -> None:
    assert complaints("rap/x.py", text) == [missing]


def test_the_old_form_is_refused_wherever_it_stands() -> None:
    wanted = [f"1: write {NEW} 9.4"]
    for name in ("rap/x.py", "docs/index.md", "justfile", "scripts/x", "tests/x.py"):
        assert complaints(name, f"# {OLD} 9.4") == wanted
    assert complaints("rap/x.py", f"({OLD}\n9.4)") == wanted
    assert complaints("docs/how-to/index.md", "See [agent.md](agent.md): the unit.") == []


def test_only_specifications_number_their_sections() -> None:
    page = "architecture.md"
    assert complaints("rap/x.py", f"({page} 2.5)") == [
        "1: architecture.md does not number its sections (2.5)"
    ]


def test_the_specifications_may_say_what_they_like() -> None:
    assert complaints("docs/spec/agent.md", f"{OLD} 9.4, `rap/gone.py`") == []


def test_items_must_be_there() -> None:
    there, gone = "agent:2", "agent" + ":3"
    assert complaints("rap/x.py", f"({there})") == []
    assert complaints("rap/x.py", f"({gone})") == [f"1: docs/spec has no item {gone}"]
    assert complaints("rap/x.py", f"image:{gone}, x/{gone}") == [f"1: docs/spec has no item {gone}"]


@pytest.mark.parametrize(
    "marked",
    [
        "@pytest.mark.spec({})\ndef test_x(): ...",
        "@pytest.mark.spec({})\nclass TestX: ...",
        "class TestX:\n    pytestmark = pytest.mark.spec({})",
        "pytestmark = [pytest.mark.unit, pytest.mark.spec({})]",
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.spec({}))])\ndef t(x): 0",
    ],
)
def test_markers_must_name_items(marked: str) -> None:
    gone = "agent" + ":3"
    line = marked[: marked.index("{}")].count("\n") + 1
    assert complaints("tests/x.py", marked.format("'agent:2'")) == []
    for wrong in (gone, "agent-2"):
        assert complaints("tests/x.py", marked.format(f"'{wrong}'")) == [
            f"{line}: docs/spec has no item {wrong}"
        ]


@pytest.mark.parametrize(
    "link",
    [
        "[x](how-to/agent.md)",
        "[x](how-to/agent.md#a)",
        "[x](../rap/status.py)",
        "[x](../rap/)",
        "[x](..)",
        "[x](#one-more-thing)",
        "[x](#one-more-thing-1)",
        "![x](how-to/agent.md 'title')",
        "[x](https://example.org/gone)",
        "`[x](gone.md)`",
        "```\n\n[x](gone.md)\n\n```",
        "[x]: how-to/agent.md",
    ],
)
def test_links_that_lead_somewhere(link: str) -> None:
    assert complaints("docs/index.md", f"# One `more` thing!\n\n# One more thing\n\n{link}\n") == []


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("[x](gone.md)", "1: the link gone.md leads to no file"),
        ("one\n[x](agent.md)", "2: the link agent.md leads to no file"),
        ("[x](how-to/agent.md#b)", "1: the link how-to/agent.md#b leads to no heading"),
        ("[x](#gone)", "1: the link #gone leads to no heading"),
        ("[x](../../other/x.md)", "1: the link ../../other/x.md leads to no file"),
        ("[x]: gone.md", "1: the link gone.md leads to no file"),
    ],
)
def test_links_that_lead_nowhere(link: str, problem: str) -> None:
    assert complaints("docs/index.md", link) == [problem]


@pytest.mark.parametrize(
    "code",
    [
        "`rap/status.py`",
        "`rap/`",
        "`rap/*.py`",
        "`docs/how-to/agent.md`",
        "`python rap/status.py --keep`",
        "`rap/status.py::State`",
        "`POST rap/create/`",
        "`rap/<id>`",
        "`other/gone.py`",
        "```\nrap/gone.py\n```",
        "rap/gone.py",
    ],
)
def test_paths_that_are_there(code: str) -> None:
    assert complaints("docs/index.md", code) == []


def test_paths_that_are_not_there() -> None:
    said = ["1: rap/gone.py does not exist"]
    for name in ("docs/index.md", "docs/how-to/index.md", "README.md", "CONTRIBUTING.md"):
        assert complaints(name, "`rap/gone.py`") == said
        assert complaints(name, "`python rap/gone.py`") == said
    assert complaints("docs/index.md", "one\n`cli/*.py`") == ["2: cli/*.py does not exist"]
    assert complaints("CHANGELOG.md", "`rap/gone.py`") == []


def test_pages_are_named_by_a_path_that_exists() -> None:
    page = "docs/" + "gone.md"
    assert complaints("rap/x.py", f"({page})") == [f"1: {page} does not exist"]
    assert complaints("rap/x.py", "(docs/how-to/agent.md)") == []


def test_the_tree_is_that_of_the_project() -> None:
    tree = citations.tree(Path(__file__).parents[3])
    assert {"README.md", "justfile", "scripts/check", "tools/citations.py"} <= set(tree.texts)
    assert all(tree.specifications[document].items for document in DOCUMENTS)
