"""The ``rap`` command: which commands there are, and how a command line ends.

Exit status: 0 done, 1 failed or refused, 2 usage or configuration, 130 Ctrl-C.
"""

import os
import sys

import typer

from cli import environment
from cli.lazy_group import LazyGroup
from rap.errors import ConfigurationError, RapError

app = LazyGroup(
    "cli",
    (
        "dev",
        "run",
        "doctor",
        "plan",
        "status",
        "cancel",
        "records",
        "agent",
        "backend",
        "flags",
        "queue",
        "watch",
        "jobs",
    ),
    hidden=dict.fromkeys(("pause", "db_maintenance", "prepare_for_reboot"), "cli.backend.aliases"),
    name="rap",
    help="Run OpenSAFELY studies inside a backend: start a system, send it work, watch and cancel.",
    epilog="Start with `rap dev`, and in another terminal `rap run PATH/OF/STUDY run_all`.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run_app(arguments: list[str]) -> int:
    """Run a command line; its exit code."""
    try:
        app.main(arguments, prog_name="rap")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except RapError as error:
        typer.echo(error, err=True)
        return 2 if isinstance(error, ConfigurationError) else 1
    except BaseException:  # noqa: BLE001 - nobody foresaw it: only to leave in our own way
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        environment.opened.close()
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
