"""What stands at level 4 in place of an excluded file (agent.md 9.7): addressed to its author.

Each text begins and ends with a newline.
"""


def too_big(name: str, size: float, limit: float) -> str:
    """Sizes in MiB."""
    return f"""
The file:

{name}

was {size}Mb, which is above the limit for moderately_sensitive files of
{limit}Mb.

As such, it has *not* been copied to Level 4 storage. Please double check that
{name} contains only aggregate information, and is an appropriate size to
be able to be output checked.
"""


def wrong_type(name: str, suffix: str) -> str:
    """The file's suffix, with its dot."""
    return f"""
The file:

{name}

is of type {suffix}. This is not a valid file type for moderately_sensitive files.

Level 4 files should be aggregate information easily viewable by output checkers.

See available list of file types here: https://docs.opensafely.org/requesting-file-release/#allowed-file-types.
"""


def patient_id(name: str) -> str:
    """A table with one row for each patient."""
    return f"""
The file:

{name}

has not been made available in level 4 because it has a `patient_id` column.

Patient level data is not allowed by policy in level 4.

You should change this file's privacy to `highly_sensitive` in your
project.yaml. Or, if it is aggregate data, you should remove the patient_id
column from your data.

"""


def too_many_rows(name: str, row_count: int, limit: int) -> str:
    """Rows after the header."""
    return f"""
The file:

{name}

contained {row_count} rows, which is above the limit for moderately_sensitive files of
{limit} rows.

As such, it has *not* been copied to Level 4 storage. Please contact tech-support for
further assistance.
"""


def unreadable(name: str) -> str:
    """The disk failed us."""
    return f"""
The file:

{name}

could not be read, so it could not be checked.

As such, it has *not* been copied to Level 4 storage. Please run the action again, and
contact tech-support if this message comes back.
"""


def not_text(name: str) -> str:
    """Another encoding, or no text at all."""
    return _unchecked(
        name, "is not valid UTF-8 text", "Please save the file with the encoding UTF-8."
    )


def nul(name: str) -> str:
    """Binary data, or UTF-16."""
    return _unchecked(
        name, "contains NUL bytes", "Please save the file as plain text with the encoding UTF-8."
    )


def too_long(name: str) -> str:
    """More than a table of aggregates ever holds in one place."""
    return _unchecked(
        name,
        "has a line that is too long",
        "Please write a table with fewer columns, or check that its lines end as they should.",
    )


def packed(name: str) -> str:
    """Compressed, or in a format for programs."""
    return _unchecked(
        name,
        "contains compressed or packed data",
        "Please write it as plain text,\nand give other files the suffix that belongs to them.",
    )


def not_svg(name: str) -> str:
    """Named .svgz, and is something else."""
    return _unchecked(
        name,
        "is not a compressed SVG image, or is one that is too large",
        "Please write an SVG\nimage, or another type of file.",
    )


def malformed(name: str) -> str:
    """Quotes that do not match, or a field longer than the csv library reads."""
    return _unchecked(
        name,
        "is not a well-formed CSV file",
        "Please check that every quote in the file is closed, that quotes within a field are\n"
        "doubled, and that no field is very long.",
    )


def ragged(name: str) -> str:
    """Rows that the header does not describe."""
    return _unchecked(
        name,
        "has rows with different numbers of columns",
        "Please write one table per file, with one header and the same number of columns in\n"
        "every row.",
    )


def _unchecked(name: str, what: str, remedy: str) -> str:
    return f"""
The file:

{name}

{what}, so it could not be checked for patient level data.

As such, it has *not* been copied to Level 4 storage. {remedy}
"""
