"""``rap agent …``: what operators do on a backend's own host (agent.md 15).

These commands read the agent's own settings, storage folders and container engine, so they are run
where the agent runs, as its user; none of them needs the agent to be running. As everywhere, each
command's work is in a module of its own, imported when it is called.

Exit status: 0 done, 1 failed or refused, 2 usage or configuration, 130 Ctrl-C.
"""

import typer

agent_app = typer.Typer(
    help="Look after the jobs of this backend host: run it where the agent runs, as its user.",
    no_args_is_help=True,
)
manifest_app = typer.Typer(help="Look after what output checkers are shown.", no_args_is_help=True)
agent_app.add_typer(manifest_app, name="manifest")
