"""Groups of commands that are imported when they are called, so that their help comes at once.

``rap A B`` is the function ``b`` of the module ``cli.a.b``, or of ``cli.a``; its docstring is the
help. The modules of commands import pydantic, SQLAlchemy, Temporal, Docker and rich in the
functions that need them. Help in colours would cost 0.2 s.
"""

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command


class LazyGroup(TyperGroup):
    """Imports its commands when they are called or listed.

    Args:
        home: the package that has a module for each command, or the module that has all.
        names: the commands, in the order of the help.
        hidden: commands that are not advertised, with their modules.
        attributes: those of typer's groups.
    """

    def __init__(
        self,
        home: str,
        names: Sequence[str],
        *,
        hidden: Mapping[str, str] | None = None,
        **attributes: Any,  # noqa: ANN401 - typer's own
    ) -> None:
        is_package = hasattr(import_module(home), "__path__")
        self._names = list(names)
        self._modules = {
            name: f"{home}.{name.replace('-', '_')}" if is_package else home for name in names
        }
        self._modules |= hidden or {}
        super().__init__(
            no_args_is_help=True,
            rich_markup_mode=None,
            # The names are what a misspelt one is compared with.
            commands={name: TyperCommand(name=name) for name in self._modules},
            short_help=attributes["help"],
            **attributes,
        )

    def list_commands(self, _: object) -> list[str]:
        """The names that are advertised."""
        return self._names

    def get_command(self, _: object, cmd_name: str) -> Any:  # noqa: ANN401 - typer exports no type
        """The command itself, imported."""
        if cmd_name not in self._modules:
            return None
        module = import_module(self._modules[cmd_name])
        group = getattr(module, "group", None)
        is_group = isinstance(group, LazyGroup) and group.name == cmd_name
        return group if is_group else _command(cmd_name, module)

    def get_help_option(self, ctx: Any) -> TyperOption | None:  # noqa: ANN401 - as above
        """``--help``; typer would load pydantic to convert it if it were neither on nor off."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


def _command(name: str, module: ModuleType) -> object:
    """The command that a function is; the last paragraph of its docstring is an example."""
    identifier = name.replace("-", "_")
    # A function is called ``list_`` where ``list`` would be Python's own.
    function = getattr(module, identifier, None) or getattr(module, f"{identifier}_")
    text, _, example = (inspect.getdoc(function) or "").rpartition("\n\n")
    line = " ".join(text.partition("\n\n")[0].split())
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, help=text, short_help=line, epilog=example)(function)
    return get_command(app)
