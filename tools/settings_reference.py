"""Writes the page about settings from the settings: ``python -m tools.settings_reference``.

Not by settings-doc, which was tried: it leaves out a setting that is read under two names,
repeats those of all processes for each, and gives a heading to each setting where a reader compares
rows of a table. A template of our own for it would be as long as this module.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from rap.settings import (
    AgentSettings,
    ApiSettings,
    CommonSettings,
    ControllerSettings,
    RecordsSettings,
)

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"

_SECTIONS: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("All processes", CommonSettings),
    ("The read model: controller, API, `rap`", RecordsSettings),
    ("Controller", ControllerSettings),
    ("Agent", AgentSettings),
    ("API", ApiSettings),
)

_HEAD = """\
# Settings

All settings are environment variables, read when a process starts; a blank value counts as unset.
Lists are separated by commas. The connection to Temporal has Temporal's own (`TEMPORAL_ADDRESS`,
`TEMPORAL_NAMESPACE`, `TEMPORAL_PROFILE`, TLS and API key, …); traces have those of OpenTelemetry
(`OTEL_EXPORTER_OTLP_ENDPOINT`, …).

This page is made from the code by `just fix`.
"""

_MORE = """
## For one backend

`<BACKEND>` is its slug in capitals.

| Variable | Read by | Meaning |
|---|---|---|
| `<BACKEND>_CLIENT_TOKENS` | API | tokens of the clients that may use it, with commas |
| `<BACKEND>_MAX_WORKERS` | controller | weight of its jobs without a database; 10, `test` 2 |
| `<BACKEND>_MAX_DB_WORKERS` | controller | the same for database jobs; by default as many |
| `<BACKEND>_JOB_CPU_COUNT` | controller | cores of one job; by default `DEFAULT_JOB_CPU_COUNT` |
| `<BACKEND>_JOB_MEMORY_LIMIT` | controller | memory of one; by default `DEFAULT_JOB_MEMORY_LIMIT` |

The file `job-resource-weights_<backend>.ini` in the controller's work directory is explained in
[how to operate a backend](../how-to/operate-a-backend.md#capacity-and-urgency).

## Secrets of jobs

Read by the agent when a job needs them, and given to its container only.

| Variable | For |
|---|---|
| `DEFAULT_DATABASE_URL` | database jobs |
| `TEMP_DATABASE_NAME` | database jobs |
| `STATA_LICENSE` | jobs of the image `stata-mp` |
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    told: set[str] = set()
    for title, kind in _SECTIONS:
        rows = [row for name, row in _rows(kind) if name not in told]
        told |= {name for name, _ in _rows(kind)}
        parts.append(
            "\n".join(
                [f"\n## {title}\n", "| Variable | Default | Meaning |", "|---|---|---|", *rows]
            )
            + "\n"
        )
    return "".join(parts) + _MORE


def _rows(kind: type[BaseSettings]) -> Iterator[tuple[str, str]]:
    for name, field in kind.model_fields.items():
        text = " ".join((field.description or "").replace("``", "`").split())
        yield name, f"| `{name.upper()}` | {_default(field)} | {text} |"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is PydanticUndefined or value in (None, "", {}):
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name} is up to date\n")
