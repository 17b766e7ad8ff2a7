"""The arguments and options that commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class OnOff(StrEnum):
    """The positions of a switch."""

    ON = "on"
    OFF = "off"


Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of `rap dev`; variables of the environment win over its settings. "
        "Default: var/dev, if there is one.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; other text goes to stderr.")
]

# --- requests ---

Repository = Annotated[
    str,
    typer.Argument(metavar="REPOSITORY", help="Folder of a git repository, or its URL on GitHub."),
]
Actions = Annotated[
    list[str], typer.Argument(metavar="ACTION", help="Actions of its project.yaml, or run_all.")
]
RunOn = Annotated[
    str | None, typer.Option("--backend", help="Where to run. Default: BACKEND, else test.")
]
Workspace = Annotated[str, typer.Option(help="Where outputs and job history go.")]
Commit = Annotated[str | None, typer.Option(help="Full id. Default: the head of the branch.")]
Branch = Annotated[str, typer.Option(help="Branch that holds the commit.")]
Force = Annotated[
    bool,
    typer.Option("--force-run-dependencies", "-f", help="Run needed actions again that succeeded."),
]
RapId = Annotated[str, typer.Argument(metavar="RAP_ID", help="The RAP.")]

# --- orders to backends ---

Backend = Annotated[str, typer.Argument(metavar="BACKEND", help="One of BACKENDS.")]
SomeBackend = Annotated[
    str | None, typer.Argument(metavar="BACKEND", help="One of BACKENDS. Default: all.")
]
NamedBackend = Annotated[str, typer.Option("--backend", help="One of BACKENDS.")]
Position = Annotated[OnOff, typer.Argument(help="Where to put the switch.")]
Why = Annotated[str, typer.Option("--why", help="The reason, kept with the order.")]
By = Annotated[str | None, typer.Option("--by", help="Who orders it. Default: your login name.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", "--skip-confirm", help="Do not ask.")]
Status = Annotated[
    bool, typer.Option("--status", "-s", help="Only say how far it is; changes nothing.")
]
DisableChecks = Annotated[
    bool,
    typer.Option("--disable-checks", help="With `on`: no periodic checks of the database either."),
]
