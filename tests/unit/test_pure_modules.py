"""A module that calls itself pure loads nothing that talks to the world, however indirectly."""

import ast
import re
from pathlib import Path

import grimp
import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PACKAGES = ("rap", "cli", "workflows", "activities", "api", "worker_controller", "worker_agent")
WORLD = {"temporalio", "docker", "sqlalchemy", "httpx"}


def pure_modules() -> list[str]:
    """The modules whose docstring says so, by name."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in files
        if re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text())) or "")
    )


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def test_decisions_call_themselves_pure() -> None:
    assert {
        "workflows.backend.scheduling",
        "workflows.job.conclusion",
        "workflows.workspace.planning",
        "rap.records.transitions",
    } <= set(pure_modules())


@pytest.mark.parametrize("module", pure_modules())
def test_a_pure_module_reaches_nothing_of_the_world(
    imports: grimp.ImportGraph, module: str
) -> None:
    reached = imports.find_upstream_modules(module) & WORLD
    chains = [" -> ".join(imports.find_shortest_chain(module, one) or ()) for one in reached]
    assert chains == []
