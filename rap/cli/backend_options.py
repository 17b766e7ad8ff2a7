"""The options that the commands of operators share."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of `rap dev`; variables of the environment win over its settings. "
        "Default: var/dev, if there is one.",
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; other text goes to stderr.")
]
Backend = Annotated[str, typer.Argument(metavar="BACKEND", help="One of BACKENDS.")]
SomeBackend = Annotated[
    str | None,
    typer.Argument(metavar="BACKEND", help="One of BACKENDS. Default: all.", show_default=False),
]
NamedBackend = Annotated[str, typer.Option("--backend", help="One of BACKENDS.")]
Why = Annotated[str, typer.Option("--why", help="The reason, kept with the order.")]
By = Annotated[
    str | None,
    typer.Option("--by", help="Who orders it. Default: your login name.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", "--skip-confirm", help="Do not ask.")]
Status = Annotated[
    bool, typer.Option("--status", "-s", help="Only say how far it is; changes nothing.")
]
DisableChecks = Annotated[
    bool,
    typer.Option("--disable-checks", help="With `on`: no periodic checks of the database either."),
]
