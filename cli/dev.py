"""``rap dev``: the whole system in one terminal, until Ctrl-C."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cli import environment
from rap import addresses

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def dev(
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where everything is kept. Default: var/dev."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="The backend to be. Default: BACKEND, else test.")
    ] = None,
    port: Annotated[
        int, typer.Option(envvar="RAP_API_PORT", min=0, max=65535, help="Port of the API.")
    ] = addresses.API_PORT,
    temporal_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Temporal.")
    ] = addresses.TEMPORAL_PORT,
    ui_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Temporal's Web UI.")
    ] = addresses.TEMPORAL_UI_PORT,
) -> None:
    """Run the whole system in this terminal until Ctrl-C.

    Temporal (unless TEMPORAL_ADDRESS names a server that runs), controller, agent and API, with
    their logs. What you have set in the environment is used as it is. A port of 0 is any free one.

    Example: rap dev --data /tmp/rap --port 8080
    """
    from cli.operations.dev_system import alone, configured, run
    from infra.images import build as images
    from rap.settings import CommonSettings, load
    from rap.telemetry import logs

    # Also when the terminal is closed, nothing may be left behind.
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler)
    logs.configure("CRITICAL")
    folder = (data or environment.DEFAULT_FOLDER).absolute()
    slug = environment.backend_of(backend, load(CommonSettings))
    images.connect().close()
    # Ctrl-C is how the system is ended, and no failure.
    with suppress(KeyboardInterrupt), alone(folder):
        run(configured(folder, slug, port=port, temporal_port=temporal_port, ui_port=ui_port))
