"""Which files of which jobs a job may read. Pure.

A name says nothing: other jobs write files of the same names. An input is good if it is, byte for
byte, what a succeeded job of a needed action has filed. That is the job that was planned, or, where
its files do not stand any more, the newest later one of the same action; all files of an action
come from one job, by the names of its own record. A name that several needed actions filed stands
for what one of them filed.

Of jobs from before hashes were kept, what cannot be told is taken by its name, and said.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rap.models import PrivacyLevel


class FiledFile(NamedTuple):
    """A file as the records have it."""

    sha256: str | None
    """What its bytes have to be; ``None``: nothing is on record."""
    level: PrivacyLevel | None = None
    verified: bool = True
    """Whether the hash is that of this job's file; if not, of whatever was filed there last."""
    replaced: bool = False
    """It is certain that another job's file has its place."""


@dataclass(frozen=True, slots=True)
class Filed:
    """What a succeeded job has filed."""

    job_id: str
    action: str
    files: Mapping[str, FiledFile]


@dataclass(frozen=True, slots=True)
class Need:
    """A needed action, and the jobs that may meet the need."""

    planned: Filed
    later: Filed | None = None
    """The newest one filed after it."""


class Unfit(NamedTuple):
    """A file that is not what any job in question has filed."""

    need: int
    """Whose file is wanted: a place in the needs."""
    name: str


class Source(NamedTuple):
    """Where a good input comes from."""

    job: Filed
    file: FiledFile
    verified: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The jobs whose files are read, one for each need, and what stands in the way."""

    jobs: tuple[Filed, ...]
    unfit: tuple[Unfit, ...]
    """Nothing if all is good."""
    sources: Mapping[str, Source]
    """Of each good file."""


def names_of(needs: Collection[Need]) -> set[str]:
    """All files that may have to be looked at."""
    jobs = [job for need in needs for job in (need.planned, need.later) if job is not None]
    return {name for job in jobs for name in job.files}


def choose(needs: Sequence[Need], found: Mapping[str, str]) -> Choice:
    """Choose a job for each need, by the hashes of the files that were found.

    All begin with the planned ones; a need whose files are not good goes over to its later job, and
    where that does not help, one whose later job filed what was found. None goes back. What is
    chosen is good or said to be unfit; nothing is guessed.
    """
    chosen = [need.planned for need in needs]
    while True:
        sources, unfit = _judged(chosen, found)
        left = {
            place: need.later
            for place, need in enumerate(needs)
            if need.later is not None and chosen[place] is not need.later
        }
        concerned, names = {each.need for each in unfit}, {each.name for each in unfit}
        going = left.keys() & concerned or {
            place for place, later in left.items() if _explains(later, names, found)
        }
        if not going:
            return Choice(tuple(chosen), unfit, sources)
        for place in going:
            chosen[place] = left[place]


def _explains(job: Filed, names: Collection[str], found: Mapping[str, str]) -> bool:
    """Whether a job filed what was found under one of these names."""
    return any(
        name in found and name in job.files and job.files[name].sha256 == found[name]
        for name in names
    )


def _judged(
    chosen: Sequence[Filed], found: Mapping[str, str]
) -> tuple[dict[str, Source], tuple[Unfit, ...]]:
    sources: dict[str, Source] = {}
    for job in chosen:
        for name, file in job.files.items():
            if name not in found or file.replaced:
                continue
            fits = file.sha256 in (None, found[name])
            source = Source(job, file, verified=file.verified and file.sha256 is not None)
            # Of two that fit, the one that is certain, or else the first.
            known = sources.get(name)
            if fits and (known is None or (source.verified and not known.verified)):
                sources[name] = source
    unfit = [
        Unfit(place, name)
        for place, job in enumerate(chosen)
        for name in job.files
        if name not in sources
    ]
    return sources, tuple(unfit)
