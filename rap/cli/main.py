"""The ``rap`` command: its commands and their options.

Each command's work is in a module of its own, imported when it is called, so that ``--help`` is
quick. Exit status: 0 done, 1 failed or refused, 2 usage or configuration, 130 Ctrl-C.
"""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rap.cli.agent import agent_app
from rap.cli.backend import backend_app
from rap.cli.flags import flags_app
from rap.cli.old_spellings import old_app
from rap.cli.overview import overview_app
from rap.cli.records import records_app
from rap.errors import ConfigurationError, RapError

app = typer.Typer(
    help="Run OpenSAFELY studies inside a backend: start a system, send it work, watch and cancel.",
    epilog="Start with `rap dev`, and in another terminal `rap run PATH/OF/STUDY run_all`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(records_app, name="records")
app.add_typer(agent_app, name="agent")
app.add_typer(backend_app, name="backend")
app.add_typer(flags_app, name="flags")
app.add_typer(overview_app)
app.add_typer(old_app)

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

Repository = Annotated[
    str,
    typer.Argument(metavar="REPOSITORY", help="Folder of a git repository, or its URL on GitHub."),
]
Actions = Annotated[
    list[str], typer.Argument(metavar="ACTION", help="Actions of its project.yaml, or run_all.")
]
Backend = Annotated[
    str | None,
    typer.Option(help="Where to run. Default: BACKEND, else test.", show_default=False),
]
Workspace = Annotated[str, typer.Option(help="Where outputs and job history go.")]
Commit = Annotated[
    str | None,
    typer.Option(help="Full id. Default: the head of the branch.", show_default=False),
]
Branch = Annotated[str, typer.Option(help="Branch that holds the commit.")]
Force = Annotated[
    bool,
    typer.Option("--force-run-dependencies", "-f", help="Run needed actions again that succeeded."),
]


class GraphFormat(StrEnum):
    """Languages in which graphs are drawn."""

    MERMAID = "mermaid"
    DOT = "dot"


@app.command(epilog="Example: rap dev --data /tmp/rap --port 8080")
def dev(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Where everything is kept. Default: var/dev.",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="The backend to be. Default: BACKEND, else test.", show_default=False),
    ] = None,
    port: Annotated[
        int, typer.Option(envvar="RAP_API_PORT", min=0, max=65535, help="Port of the API.")
    ] = 8000,
    temporal_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of Temporal.")] = 7233,
    ui_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Temporal's Web UI.")
    ] = 8233,
) -> None:
    """Run the whole system in this terminal until Ctrl-C.

    Temporal (unless TEMPORAL_ADDRESS names a server that runs), controller, agent and API, with
    their logs. What you have set in the environment is used as it is. A port of 0 is any free one.
    """
    from rap.cli import dev as story

    ports = story.Ports(port, temporal_port, ui_port)
    raise typer.Exit(story.command(ports, data=data, backend=backend))


@app.command(epilog="Example: rap run ~/studies/asthma run_all --branch main")
def run(
    *,
    repository: Repository,
    actions: Actions,
    backend: Backend = None,
    workspace: Workspace = "test",
    commit: Commit = None,
    branch: Branch = "main",
    database: Annotated[str, typer.Option(help="Name of the database.")] = "default",
    force_run_dependencies: Force = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run actions of a study, with the actions they need, and follow them to their end.

    Only what is committed takes part. Ends with 0 if all jobs succeeded or there was nothing to
    do, with 1 if one failed or the request was refused. Ctrl-C stops the watching, not the jobs.
    """
    from rap.cli import run as story

    wish = story.Wish(
        repository=repository,
        actions=actions,
        backend=backend,
        workspace=workspace,
        commit=commit,
        branch=branch,
        database=database,
        force_run_dependencies=force_run_dependencies,
    )
    raise typer.Exit(story.command(wish, data=data, as_json=as_json))


@app.command(epilog="Example: rap doctor --dry-run")
def doctor(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is wrong.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Find what is inconsistent in the system, and mend it.

    Starts again what was terminated by hand, closes RAPs that nothing runs any more, frees slots
    that nothing uses. Stops no job. Ends with 1 if a problem is left.
    """
    from rap.cli import doctor as story

    raise typer.Exit(story.command(dry_run=dry_run, data=data, as_json=as_json))


@app.command(epilog="Example: rap plan ~/studies/asthma make_table --graph mermaid")
def plan(
    *,
    repository: Repository,
    actions: Actions,
    backend: Backend = None,
    workspace: Workspace = "test",
    commit: Commit = None,
    branch: Branch = "main",
    force_run_dependencies: Force = False,
    graph: Annotated[
        GraphFormat | None,
        typer.Option(help="Draw the actions instead of listing them.", show_default=False),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what `rap run` would run, and why each action would or would not; nothing is run.

    What the workspace has run before counts if Temporal answers. Ends with 1 if the request would
    be refused.
    """
    from rap.cli import plan as story
    from rap.cli.run import Wish

    wish = Wish(
        repository=repository,
        actions=actions,
        backend=backend,
        workspace=workspace,
        commit=commit,
        branch=branch,
        force_run_dependencies=force_run_dependencies,
    )
    raise typer.Exit(story.command(wish, data=data, graph=graph, as_json=as_json))


@app.command(epilog="Example: rap status a1b2c3d4e5f6g7h8 --watch")
def status(
    *,
    rap_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="RAP_ID", help="RAPs to show.", show_default=False),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Only RAPs of this backend. Default: all.", show_default=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Without RAP_ID: all RAPs ever.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow the jobs until all have ended.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the jobs of RAPs; without RAP_ID the ten latest RAPs, unfinished ones first."""
    from rap.cli import status as story

    code = story.command(
        rap_ids or [],
        backend=backend,
        everything=everything,
        keep_watching=watch,
        data=data,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command(epilog="Example: rap cancel a1b2c3d4e5f6g7h8 make_table make_plot")
def cancel(
    *,
    rap_id: Annotated[str, typer.Argument(metavar="RAP_ID", help="The RAP.")],
    actions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ACTION",
            help="What to cancel. Default: all actions that have not ended.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Cancel jobs of a RAP, and wait until that shows.

    Jobs that wait for a cancelled one fail. A named action that has ended keeps its result, but
    counts as never run for later requests.
    """
    from rap.cli import cancel as story

    raise typer.Exit(story.command(rap_id, actions or [], data=data, as_json=as_json))


def run_app(arguments: list[str]) -> int:
    """Run a command line; its exit code."""
    try:
        app(arguments, prog_name="rap")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except ConfigurationError as error:
        typer.echo(error, err=True)
        return 2
    except RapError as error:
        typer.echo(error, err=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except BaseException:  # noqa: BLE001 - nobody foresaw it: only to leave in our own way
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def main() -> None:
    """Run the command line of this process, and end it."""
    code = run_app(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Whoever read it has gone (``rap status | head``).
            code = code or 1
    # The SDK's threads may abort the interpreter's own way out; that must not become our code.
    os._exit(code)
