"""``rap agent …``: what operators do on a backend's own host (agent.md 15).

These commands read the agent's own settings, storage folders and container engine, so they are run
where the agent runs, as its user; none of them needs the agent to be running. As everywhere, each
command's work is in a module of its own, imported when it is called.

Exit status: 0 done, 1 failed or refused, 2 usage or configuration, 130 Ctrl-C.
"""

from enum import StrEnum
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


Workspace = Annotated[str, typer.Argument(metavar="WORKSPACE", help="Name of the workspace.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")]


@manifest_app.command(epilog="Example: rap agent manifest repair asthma --dry-run")
def repair(
    *,
    workspace: Workspace,
    job: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Only the outputs of this earlier job (the beginning of its id is enough), "
            "flagged as out of date. Default: all jobs on record.",
            show_default=False,
        ),
    ] = None,
    branch: Annotated[
        str, typer.Option(help="Branch whose head says which actions the study has.")
    ] = "main",
    repo: Annotated[
        str | None,
        typer.Option(
            help="The study's repository. Default: that of the manifest's first entry.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Add what a manifest lacks, from the records of jobs and the files that are there.

    Entries that are there stay as they are; nothing is deleted. The agent may be running.
    """
    from rap.cli import agent_manifest as story

    code = story.repair(
        workspace,
        job=job,
        branch=branch,
        repo=repo,
        dry_run=dry_run,
        yes=yes,
        data=data,
        as_json=as_json,
    )
    raise typer.Exit(code)


@manifest_app.command(
    "update-actions",
    epilog="Example: rap agent manifest update-actions asthma "
    "https://github.com/opensafely/asthma 0123456789abcdef0123456789abcdef01234567",
)
def update_actions(
    *,
    workspace: Workspace,
    repo: Annotated[str, typer.Argument(metavar="REPO_URL", help="The study's repository.")],
    commit: Annotated[str, typer.Argument(metavar="COMMIT", help="Full id.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say of every output whether its action is in the project file of a commit.

    Changes `out_of_date_action` and nothing else.
    """
    from rap.cli import agent_manifest as story

    code = story.update_actions(
        workspace, repo, commit, dry_run=dry_run, yes=yes, data=data, as_json=as_json
    )
    raise typer.Exit(code)


Dataset = Annotated[
    str, typer.Argument(metavar="DATASET", help="Name under which the spans are sent.")
]


@agent_app.command(
    name="ehrql-telemetry",
    epilog="Example: rap agent ehrql-telemetry ehrql-timings k3v7qhxwzq2m5a4t",
)
def ehrql_telemetry(
    *,
    dataset: Dataset,
    job: Annotated[
        str, typer.Argument(metavar="JOB", help="Id of a finished job, or its log folder.")
    ],
    data: Data = None,
) -> None:
    """Send the timings of a finished ehrQL job's queries as OpenTelemetry spans.

    Where to is said by OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS. The log is read
    by ehrQL's own image.
    """
    from rap.cli import agent_telemetry as story

    raise typer.Exit(story.of_job(dataset, job, data=data))


class EhrqlOperation(StrEnum):
    """What ehrQL may have been asked to do."""

    GENERATE_DATASET = "generate-dataset"
    GENERATE_MEASURES = "generate-measures"


@agent_app.command(
    name="ehrql-log-telemetry",
    epilog="Example: rap agent ehrql-log-telemetry ehrql-timings run.log generate-dataset",
)
def ehrql_log_telemetry(
    *,
    dataset: Dataset,
    log: Annotated[Path, typer.Argument(metavar="LOGFILE", help="A log of ehrQL.")],
    operation: Annotated[EhrqlOperation, typer.Argument(metavar="OPERATION", help="What ran.")],
    workspace: Annotated[
        str | None, typer.Option(help="Attribute of the spans.", show_default=False)
    ] = None,
    commit: Annotated[
        str | None, typer.Option(help="Attribute of the spans.", show_default=False)
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="Attribute of the spans.", show_default=False)
    ] = None,
    attrs: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="More attributes; repeatable.", show_default=False),
    ] = None,
    data: Data = None,
) -> None:
    """Send the timings of the queries in any ehrQL log as OpenTelemetry spans."""
    from rap.cli import agent_telemetry as story

    code = story.of_log(
        dataset,
        log,
        operation.value,
        workspace=workspace,
        commit=commit,
        action=action,
        attrs=attrs or [],
        data=data,
    )
    raise typer.Exit(code)


@agent_app.command(epilog="Example: rap agent check --json")
def check(*, data: Data = None, as_json: Json = False) -> None:
    """Look at everything that jobs on this host need, and tell the remedy for what is wrong.

    Settings, agent, Docker, database network, Temporal, folders, disks, clock, secrets (by name
    only), images. Changes nothing. The exit code is 1 if there is a problem; warnings are none.
    """
    from rap.cli import agent_check as story

    raise typer.Exit(story.command(data=data, as_json=as_json))
