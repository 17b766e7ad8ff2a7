"""``rap agent …``: what operators do on a backend's own host (agent.md 15).

These commands read the agent's own settings, storage folders and container engine, so they are run
where the agent runs, as its user; none of them needs the agent to be running. As everywhere, each
command's work is in a module of its own, imported when it is called.

Exit status: 0 done, 1 failed or refused, 2 usage or configuration, 130 Ctrl-C.
"""

from pathlib import Path
from typing import Annotated

import typer

agent_app = typer.Typer(
    help="Look after the jobs of this backend host: run it where the agent runs, as its user.",
    no_args_is_help=True,
)
manifest_app = typer.Typer(help="Look after what output checkers are shown.", no_args_is_help=True)
agent_app.add_typer(manifest_app, name="manifest")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of `rap dev`, in development. Default: var/dev, if there is one; on a "
        "backend the agent's own variables say where everything is.",
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; other text goes to stderr.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@agent_app.command(epilog="Example: rap agent kill k3v7 --yes")
def kill(
    *,
    jobs: Annotated[
        list[str],
        typer.Argument(metavar="JOB", help="Ids of running jobs, or parts of them."),
    ],
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Kill the containers of jobs; the jobs end as killed by an administrator.

    Their logs are filed, their outputs are not. What is named only in part is asked about first.
    It works while the agent is down, too: readers see it once the agent is back.
    """
    from rap.cli import agent_kill as story

    raise typer.Exit(story.command(jobs, yes=yes, data=data))


@agent_app.command(epilog="Example: rap agent jobs --watch")
def jobs(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again, until Ctrl-C.")] = False,
    last_line: Annotated[
        bool,
        typer.Option("--last-line", help="Show the newest line of each program, too: sensitive."),
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the jobs whose containers run here: age, use of the machine, age of the last output.

    The processor is in percent of one core. A job that has not written anything for long may be
    stuck.
    """
    from rap.cli import agent_jobs as story

    if watch and as_json:
        raise typer.BadParameter("--watch cannot be used with --json, which is one document")
    raise typer.Exit(story.command(watch=watch, last_line=last_line, data=data, as_json=as_json))


@agent_app.command(epilog="Example: rap agent logs k3v7 --follow")
def logs(
    *,
    job: Annotated[str, typer.Argument(metavar="JOB", help="The id of a job, or a part of it.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the program ends.")
    ] = False,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", min=1, help="Only so many last lines.", show_default=False),
    ] = None,
    data: Data = None,
) -> None:
    """Show what a job wrote: from its container while there is one, else its filed log.

    What it shows is sensitive: it must not leave this host.
    """
    from rap.cli import agent_logs as story

    raise typer.Exit(story.command(job, follow=follow, tail=tail, data=data))
