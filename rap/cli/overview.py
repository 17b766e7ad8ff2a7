"""``rap queue``, ``rap watch`` and ``rap jobs``: what goes on, read from the read model alone."""

from typing import Annotated

import typer

from rap.cli.backend_options import Data, Json, SomeBackend

overview_app = typer.Typer()


@overview_app.command(epilog="Example: rap queue tpp")
def queue(
    *,
    backend: SomeBackend = None,
    everything: Annotated[bool, typer.Option("--all", help="However many wait.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show who runs and who waits, in order: why, since when, and until when, likely.

    The estimates are medians of how long such jobs took before, in the order of the queue.
    """
    from rap.cli import queue as story

    raise typer.Exit(story.command(backend, everything=everything, data=data, as_json=as_json))


@overview_app.command(epilog="Example: rap watch tpp")
def watch(*, backend: SomeBackend = None, data: Data = None) -> None:
    """Watch backends, their slots and queues, until Ctrl-C.

    In a terminal a table that changes; elsewhere a line for every change.
    """
    from rap.cli import live as story

    raise typer.Exit(story.command(backend, data=data))


@overview_app.command(epilog="Example: rap jobs --status failed --since 2d")
def jobs(
    *,
    backend: Annotated[
        str | None, typer.Option(help="Of this backend.", show_default=False)
    ] = None,
    workspace: Annotated[
        str | None, typer.Option(help="Of this workspace.", show_default=False)
    ] = None,
    action: Annotated[str | None, typer.Option(help="Of this action.", show_default=False)] = None,
    status: Annotated[
        str | None,
        typer.Option(help="A state or status code, as failed, nonzero_exit.", show_default=False),
    ] = None,
    rap: Annotated[str | None, typer.Option(help="Of this RAP.", show_default=False)] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Created since 4h, 2d, 2026-01-31 …", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most that are shown.")] = 50,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the jobs that fit all filters, the newest first."""
    from rap.cli import job_list as story

    wanted = story.Wanted(backend, workspace, action, status, rap, since, limit)
    raise typer.Exit(story.command(wanted, data=data, as_json=as_json))
