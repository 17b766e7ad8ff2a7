r"""The files that say how much of a backend its jobs take (docs/spec/controller.md 9.4).

``job-resource-weights_<backend>.ini`` in the work directory; each is read again when it changes::

    [my-workspace]
    some_action = 2.5
    pattern[\d]+ = 4

    [default]
    stata-mp:.* = 2
"""

import re
from configparser import ConfigParser
from configparser import Error as IniError
from math import isfinite
from pathlib import Path

import structlog
from temporalio import activity

from rap.contracts.activities import LOAD_WEIGHTS
from rap.errors import ConfigurationError
from rap.models import BackendRequest, WeightRule, Weights

log = structlog.get_logger()

DEFAULT_SECTION = "default"
NO_SECTION = "\0"
"""Stands where an ini parser has a section that it merges into all others: nobody can write it."""


class WeightFiles:
    """The weights of all backends, as the files of a folder say now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._good: dict[str, Weights] = {}
        self._seen: dict[str, tuple[int, int] | None] = {}

    def of_backend(self, backend: str) -> Weights:
        """The weights of a backend's jobs; none without a file.

        While a changed file cannot be used, what it said before stays in force, and the log says
        what is wrong with it.
        """
        path = self._folder / f"job-resource-weights_{backend}.ini"
        stamp = _stamp(path)
        if backend not in self._seen or stamp != self._seen[backend]:
            self._seen[backend] = stamp
            try:
                self._good[backend] = read_weights(path) if stamp else Weights()
            except ConfigurationError as error:
                log.error(f"{error}; the weights stay as they were", backend=backend)  # noqa: TRY400
        return self._good.get(backend, Weights())

    @activity.defn(name=LOAD_WEIGHTS.name)
    async def load_weights(self, request: BackendRequest) -> Weights:
        """Answer with the weights that are in force now."""
        return self.of_backend(request.backend)


def read_weights(path: Path) -> Weights:
    """Read one file.

    Raises:
        ConfigurationError: names the file, the section and the key, and what is wrong with it.
    """
    # The defaults of the parser would lower-case keys, and with them classes such as \\S.
    parser = ConfigParser(
        delimiters=("=",), default_section=NO_SECTION, interpolation=None, strict=False
    )
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(path.read_text("utf-8"), source=path.name)
    except (OSError, UnicodeDecodeError, IniError) as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error}") from None
    rules = {
        section: tuple(
            _rule(f"{path.name} [{section}]", key, value) for key, value in parser.items(section)
        )
        for section in parser.sections()
    }
    return Weights(default=rules.pop(DEFAULT_SECTION, ()), workspaces=rules)


def _rule(where: str, pattern: str, text: str) -> WeightRule:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"{where}: {pattern} is not a pattern: {error}") from None
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not (isfinite(weight) and weight > 0):
        raise ConfigurationError(
            f"{where}: the weight of {pattern} must be a number above 0, not {text!r}"
        )
    return WeightRule(pattern=pattern, weight=weight)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
