"""Finds every limit of time, pause and number of tries in the product's code.

A module is read, not imported: a constant or a field whose name or docstring speaks of time, a
``timedelta``, and a number handed to something that waits. What it is for is its docstring.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = (
    *("rap", "workflows", "activities", "worker_controller", "worker_agent", "api", "cli"),
    "infra",
)
NOT_OURS = ("infra/demo-study", "infra/images/ehrql_stand_in.py")
"""Code of a study, and of a program that only stands in for another."""

_WORDS = (
    *("s", "seconds", "milliseconds", "timeout", "pause", "pauses", "patience", "within", "every"),
    *("interval", "wait", "waits", "grace", "delay", "silence", "again", "after", "limit", "tries"),
    *("attempts", "throttle", "faults", "interruptions", "heartbeat"),
)
_SPEAKS_OF_TIME = re.compile(rf"(^|_)({'|'.join(_WORDS)})(_|$)", re.IGNORECASE)
_SECONDS = re.compile(r"\bseconds\b", re.IGNORECASE)
_COUNTS = re.compile(r"(^|_)(tries|attempts|faults|interruptions)(_|$)", re.IGNORECASE)
_SPEAKS_OF_TRIES = re.compile(r"(tries|attempts)", re.IGNORECASE)
_WAITS = ("sleep", "timeout", "wait_for")
_GROWING = {"wait_exponential": ("multiplier", "max")}
"""Functions that wait longer each time, and their arguments in seconds."""
_COUNTED = {0.0: "without end", 1.0: "once", 2.0: "twice"}
_UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))


@dataclass(frozen=True, order=True)
class Limit:
    """One of them."""

    module: str
    line: int
    name: str
    """A constant or field with the class it is in; else the function and what is given there."""
    value: str
    reason: str
    is_named: bool

    @property
    def key(self) -> str:
        """What it is called where no line number may stand, since lines move."""
        return f"{self.module} {self.name}"


def limits(root: Path = ROOT) -> Iterator[Limit]:
    """All in the product, module by module."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            module = path.relative_to(root).as_posix()
            if not module.startswith(NOT_OURS):
                yield from limits_of(path.read_text(), module)


def limits_of(source: str, module: str) -> Iterator[Limit]:
    """All in one module, in its order."""
    yield from _Module(module).of(ast.parse(source))


class _Module:
    def __init__(self, module: str) -> None:
        self._module = module

    def of(self, tree: ast.Module) -> Iterator[Limit]:
        yield from self._body(tree.body, "")

    def _body(
        self, body: list[ast.stmt], within: str, *, all_times: bool = False
    ) -> Iterator[Limit]:
        """Statements of the module or a class, of which ``all_times`` are fields in seconds."""
        for position, one in enumerate(body):
            after = body[position + 1] if position + 1 < len(body) else None
            if isinstance(one, ast.ClassDef):
                told = ast.get_docstring(one) or ""
                seconds = told.startswith("Seconds")
                yield from self._body(one.body, f"{within}{one.name}.", all_times=seconds)
            elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self._calls(one, f"{within}{one.name}")
            elif isinstance(one, ast.Assign | ast.AnnAssign) and one.value is not None:
                target = one.targets[0] if isinstance(one, ast.Assign) else one.target
                name, reason = _name_of(target), _docstring(after)
                of_time = all_times or _SPEAKS_OF_TIME.search(name) or _SECONDS.search(reason)
                unit = "s" if all_times else name
                # What is only called by another name here stands on the page as that.
                is_other = isinstance(one.value, ast.Name) and not reason
                value = "" if is_other else _told(unit, one.value, of_time=bool(of_time))
                if name and value:
                    yield Limit(
                        self._module, one.lineno, f"{within}{name}", value, reason, is_named=True
                    )
                else:
                    yield from self._calls(one, f"{within}{name}")
            else:
                yield from self._calls(one, within.removesuffix("."))

    def _calls(self, tree: ast.AST, within: str) -> Iterator[Limit]:
        """The numbers that are given without a name."""
        defaults = _defaults(tree)
        for name, value in defaults:
            yield self._nameless(value, f"{within} {name}", _duration(value, name))
        for call in (one for one in ast.walk(tree) if isinstance(one, ast.Call)):
            function = _name_of(call.func)
            if function == "timedelta":
                continue
            if function in _WAITS and call.args and (told := _duration(call.args[0], "s")):
                yield self._nameless(call, f"{within} {function}", told)
            for word in call.keywords:
                is_pause = word.arg in _GROWING.get(function, ())
                if word.arg and (is_pause or _SPEAKS_OF_TIME.search(word.arg)):
                    told = _duration(word.value, word.arg)
                    if told:
                        yield self._nameless(word.value, f"{within} {word.arg}", told)

    def _nameless(self, node: ast.expr, name: str, value: str) -> Limit:
        return Limit(self._module, node.lineno, name, value, "", is_named=False)


def _defaults(tree: ast.AST) -> list[tuple[str, ast.expr]]:
    if not isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    plain = [*tree.args.posonlyargs, *tree.args.args]
    given = [
        *zip(plain[len(plain) - len(tree.args.defaults) :], tree.args.defaults, strict=True),
        *zip(tree.args.kwonlyargs, tree.args.kw_defaults, strict=True),
    ]
    return [
        (argument.arg, value)
        for argument, value in given
        if value is not None
        and _SPEAKS_OF_TIME.search(argument.arg)
        and _duration(value, argument.arg)
    ]


def _told(name: str, value: ast.expr, *, of_time: bool) -> str:
    """The value of a constant that is a limit of time, as people read it; else nothing.

    Its ``name`` tells the unit.
    """
    if isinstance(value, ast.Call) and _name_of(value.func) == "timedelta":
        return _duration(value, name)
    if not of_time:
        return ""
    names = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
    if isinstance(value, ast.Name | ast.BinOp) and any(map(_SPEAKS_OF_TIME.search, names)):
        return f"`{ast.unparse(value)}`"
    return _duration(value, name)


def _duration(value: ast.expr, name: str) -> str:
    """A literal as people read it; nothing if it is none, or names another constant."""
    if isinstance(value, ast.Call):
        called = _name_of(value.func)
        if called == "timedelta":
            parts = {word.arg: _number(word.value) for word in value.keywords}
            if value.args or None in parts.values():
                return ""
            return _readable(timedelta(**parts).total_seconds())  # type: ignore[arg-type]
        if called == "Field":
            default = [word.value for word in value.keywords if word.arg == "default"]
            return _duration(default[0], name) if default else ""
        return ""
    if isinstance(value, ast.Tuple) and value.elts:
        told = [_duration(one, name) for one in value.elts]
        return ", ".join(told) if all(told) else ""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        both = [_duration(value.left, name), _duration(value.right, name)]
        return ", ".join(both) if all(both) else ""
    if isinstance(value, ast.BinOp) and isinstance(value.left, ast.Tuple):
        return f"{ast.unparse(value.right)} times {_duration(value.left, name)}"
    number = _number(value)
    if number is None:
        return ""
    if _COUNTS.search(name):
        if not number and not _SPEAKS_OF_TRIES.search(name):
            return ""  # something counts from zero
        return _COUNTED.get(number) or f"{number:g} times"
    if name.lower().endswith("milliseconds"):
        number /= 1000
    return _readable(number)


def _number(value: ast.expr | None) -> float | None:
    if isinstance(value, ast.Constant):
        is_number = isinstance(value.value, int | float) and not isinstance(value.value, bool)
        return float(value.value) if is_number else None  # type: ignore[arg-type]
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult | ast.Div):
        left, right = _number(value.left), _number(value.right)
        if left is None or right is None:
            return None
        return left * right if isinstance(value.op, ast.Mult) else left / right
    return None


def _readable(seconds: float) -> str:
    for unit, size in _UNITS:
        count = seconds / size
        if count >= 1 and count == int(count):
            return f"{count:g} {unit.removesuffix('s') if count == 1 else unit}"
    return f"{seconds:g} s"


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _docstring(node: ast.stmt | None) -> str:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return ""
    text = node.value.value
    return " ".join(text.split()) if isinstance(text, str) else ""
