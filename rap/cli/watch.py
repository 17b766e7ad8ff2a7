"""Following RAPs on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rap.cli import environment, show
from rap.cli.jobs import Job, follow
from rap.errors import RapError, Unavailable
from rap.records import Records

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def watch(
    records: Records, rap_ids: Sequence[str], *, data: Path | None, as_json: bool
) -> list[Job]:
    """Follow RAPs on the terminal until their jobs have ended; the jobs as they ended.

    Raises:
        KeyboardInterrupt: after telling how to go on; the jobs go on by themselves.
    """
    out = show.console(errors=as_json)
    where = environment.option(data)
    again = f"rap status {' '.join(rap_ids)} --watch{where}"
    try:
        with show.Progress(out) as progress:
            jobs = follow(records, rap_ids, progress.show)
    except KeyboardInterrupt:
        show.say(
            out,
            "\nNo longer watching; the jobs go on.\n"
            f"  watch again:  {again}\n"
            + "\n".join(f"  cancel:       rap cancel {rap_id}{where}" for rap_id in rap_ids),
        )
        raise
    except RapError as error:
        raise Unavailable(f"{error}\nThe jobs go on. To watch them again: {again}") from error
    if not out.is_terminal:
        for rap_id in rap_ids:
            show.say(out, show.headline([job for job in jobs if job["rap_id"] == rap_id]))
    return jobs
