"""What a hostile study is, and short ways to describe the kinds of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rap.egress import Ending, ExitNote, Fault
from rap.models import PrivacyLevel

HIGH = PrivacyLevel.HIGHLY_SENSITIVE
MODERATE = PrivacyLevel.MODERATELY_SENSITIVE
OUTSIDE = "@OUTSIDE@"
"""Stands for the path of a file on the host that no job may read or write."""
GOOD = "echo a,b > output/good.csv; "
SUCCESS = "\nstatus_message: Completed successfully\n"
NO_CSV = "\nstatus_message: \n  No outputs found matching patterns:\n - output/*.csv\n"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One tiny project, and all that may come of it."""

    name: str
    program: str
    """For the shell, or for Python; it starts in a volume with an empty directory ``output``."""
    in_python: bool = False
    patterns: Mapping[str, PrivacyLevel] = field(default_factory=lambda: {"output/*.csv": MODERATE})
    changes: Mapping[str, Any] = field(default_factory=dict)
    """To the definition of the job."""
    says: tuple[str, ...] = ()
    """Texts in the log at level 4; of an attempt that was not run, in its record."""
    says_not: tuple[str, ...] = ()
    level4: Mapping[str, str | None] = field(default_factory=dict)
    """The files at level 4 beside the manifest and the log, with a part of their text."""
    high: tuple[str, ...] | None = None
    """The files of the high privacy area beside the log; ``None``: those of level 4."""
    ending: Ending = Ending.COMPLETED
    exit_code: int | None = 0
    exit_note: ExitNote | None = None
    fault: Fault | None = None
    unmatched: bool = False
    excluded: bool = False
    is_shown: bool = True
    """Whether level 4 hears of it at all."""
    log: str = "metadata/act.log"
    """Where its log is."""


def trap(name: str, program: str, *refusals: str, **more: Any) -> Study:
    """Beside a good file lies something that must not be taken."""
    return Study(
        name=name,
        program=GOOD + program,
        says=(SUCCESS, "\nRefused outputs:\n", *refusals),
        **{"level4": {"output/good.csv": "a,b\n"}, **more},
    )


def gate(name: str, program: str, reason: str, file: str = "output/a.csv", **more: Any) -> Study:
    """A file that must stay away from level 4, beside a good one that may be there."""
    return Study(
        name=name,
        program=GOOD + program,
        says=(SUCCESS, "\nInvalid moderately_sensitive outputs:\n", f"  {file}  - {reason}"),
        excluded=True,
        **{
            "high": ("output/good.csv", file),
            "patterns": {"output/good.csv": MODERATE, file: MODERATE},
            "level4": {"output/good.csv": "a,b\n", f"{file}.txt": f"The file:\n\n{file}\n\n"},
            **more,
        },
    )


def refusal(name: str, program: str, sentence: str, **more: Any) -> Study:
    """Outputs that cannot be kept: none of them is, and the author is told why."""
    return Study(
        name=name,
        program=program,
        says=(f"\nstatus_message: {sentence}\n", "\n  (no outputs)\n"),
        ending=Ending.FAILED,
        fault=Fault.OUTPUTS_REFUSED,
        **more,
    )
