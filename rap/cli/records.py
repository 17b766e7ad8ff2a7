"""``rap records``: looking after the read model."""

from pathlib import Path

from rap.cli import environment, show
from rap.records import migrations


def upgrade(*, data: Path | None) -> int:
    """Carry out ``rap records upgrade``; its exit code."""
    environment.enter(data)
    url = environment.records_url()
    # The password is for the database alone.
    name = url.render_as_string(hide_password=True)
    full = url.render_as_string(hide_password=False)
    out = show.console()
    if migrations.is_current(full):
        show.say(out, f"The tables of the read model at {name} are up to date.")
        return 0
    with show.patience(out, "Changing the tables …"):
        migrations.upgrade(full)
    show.say(out, f"Brought the tables of the read model at {name} up to date.")
    return 0
