"""Why a file is excluded from level 4 (docs/spec/agent.md 9.6, 9.7): in short for lists, and at
length for its author, in the message file that stands in its place.
"""

from enum import Enum
from typing import NamedTuple


class Message(NamedTuple):
    """One reason."""

    short: str
    long: str


class Problem(Enum):
    """Why a file cannot be checked: in short; as a sentence about the file goes on; the remedy."""

    UNREADABLE = (
        "File could not be read",
        "could not be read",
        "Please run the action again, and\ncontact tech-support if this message comes back.",
    )
    NOT_TEXT = (
        "File is not valid UTF-8 text",
        "is not valid UTF-8 text",
        "Please save the file with the encoding UTF-8.",
    )
    NUL = (
        "File contains NUL bytes",
        "contains NUL bytes",
        "Please save the file as plain text with the encoding UTF-8.",
    )
    CONTROL = (
        "File contains control characters",
        "contains control characters, as files for programs do",
        "Please save the file as plain text with the encoding UTF-8.",
    )
    TOO_LONG = (
        "File has a line too long to check",
        "has a line that is too long",
        "Please write a table with fewer columns, or check that its lines end as they should.",
    )
    COMPRESSED = (
        "File contains compressed or packed data",
        "contains compressed or packed data",
        "Please write it as plain text,\nand give other files the suffix that belongs to them.",
    )
    NOT_SVG = (
        "File is not a compressed SVG image",
        "is not a compressed SVG image, or is one that is too large",
        "Please write an SVG\nimage, or another type of file.",
    )
    NOT_IMAGE = (
        "File is not the image that its name says",
        "is not an image of the type that its name says, or has something before or behind it",
        "Please write the\nimage again, or give the file the suffix that belongs to it.",
    )
    FIELD_TOO_LONG = (
        "File has a field above 131,072 characters",
        "has a field above 131,072 characters",
        "Please write shorter fields,\nand check that every quote in the file is closed.",
    )
    MALFORMED = (
        "File is not a well-formed CSV file",
        "is not a well-formed CSV file",
        """Please check that every quote in the file is closed, and that quotes within a field are
doubled.""",
    )


def unchecked(name: str, problem: Problem) -> Message:
    """The file could not be checked for patients."""
    short, why, remedy = problem.value
    checked = "checked" if problem is Problem.UNREADABLE else "checked for patient level data"
    return Message(short, _not_copied(name, f"{why}, so it could not be {checked}.", remedy))


def too_big(name: str, size: float, limit: float) -> Message:
    """Sizes in MiB."""
    return Message(
        f"File size of {size}Mb is larger than limit of {limit}Mb.",
        _not_copied(
            name,
            f"was {size}Mb, which is above the limit for moderately_sensitive files of\n{limit}Mb.",
            f"Please double check that\n{name} contains only aggregate information, and is an "
            "appropriate size to\nbe able to be output checked.",
        ),
    )


def too_many_rows(name: str, rows: int, limit: int) -> Message:
    """Rows after the header."""
    return Message(
        f"File row count ({rows}) exceeds maximum allowed rows ({limit})",
        _not_copied(
            name,
            f"contained {rows} rows, which is above the limit for moderately_sensitive files of\n"
            f"{limit} rows.",
            "Please contact tech-support for\nfurther assistance.",
        ),
    )


def wrong_type(name: str, suffix: str) -> Message:
    """The file's suffix, with its dot."""
    return Message(
        f"File type of {suffix} is not valid level 4 file",
        _about(
            name,
            f"""is of type {suffix}. This is not a valid file type for moderately_sensitive files.

Level 4 files should be aggregate information easily viewable by output checkers.

See available list of file types here: https://docs.opensafely.org/requesting-file-release/#allowed-file-types.""",
        ),
    )


def patient_id(name: str) -> Message:
    """A table with one row for each patient."""
    return Message(
        "File has patient_id column",
        _about(
            name,
            """has not been made available in level 4 because it has a `patient_id` column.

Patient level data is not allowed by policy in level 4.

You should change this file's privacy to `highly_sensitive` in your
project.yaml. Or, if it is aggregate data, you should remove the patient_id
column from your data.
""",
        ),
    )


def _not_copied(name: str, why: str, remedy: str) -> str:
    return _about(name, f"{why}\n\nAs such, it has *not* been copied to Level 4 storage. {remedy}")


def _about(name: str, text: str) -> str:
    return f"\nThe file:\n\n{name}\n\n{text}\n"
