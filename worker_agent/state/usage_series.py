"""The course of a job's use of the machine, for charts: ``metrics.jsonl`` (docs/spec/agent.md 13).

One JSON object a line, oldest first. The file stays small however long a job runs: when it has
grown too large, neighbours are drawn together until all are about as far apart as need be. What
was drawn together keeps its mean and its peak. Pure.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from pydantic import Field, ValidationError

from rap.models import Model

MOST_BYTES = 256 * 1024
"""Of one file: about two thousand lines."""
ROOM_AFTER_THINNING = 0.75


class UsagePoint(Model):
    """The use of the machine over some time: one sample, or several drawn together."""

    time: datetime
    """The end of that time, UTC."""
    seconds: float = Field(gt=0)
    cpu: float
    """Mean, percent of one core."""
    cpu_peak: float
    memory_mb: float
    """Mean, MiB without the page cache."""
    memory_mb_peak: float

    @classmethod
    def of_sample(cls, at: float, *, seconds: float, cpu: float, memory_mb: float) -> "UsagePoint":
        """One sample, which stands for the time since the one before."""
        return cls(
            time=datetime.fromtimestamp(round(at, 3), UTC),
            seconds=round(seconds, 3),
            cpu=round(cpu, 2),
            cpu_peak=round(cpu, 2),
            memory_mb=round(memory_mb, 2),
            memory_mb_peak=round(memory_mb, 2),
        )

    def with_next(self, later: "UsagePoint") -> "UsagePoint":
        """Draw this and the one after it together."""
        seconds = self.seconds + later.seconds

        def mean(before: float, after: float) -> float:
            return round((before * self.seconds + after * later.seconds) / seconds, 2)

        return UsagePoint(
            time=later.time,
            seconds=round(seconds, 3),
            cpu=mean(self.cpu, later.cpu),
            cpu_peak=max(self.cpu_peak, later.cpu_peak),
            memory_mb=mean(self.memory_mb, later.memory_mb),
            memory_mb_peak=max(self.memory_mb_peak, later.memory_mb_peak),
        )


def line(point: UsagePoint) -> str:
    """A point as a line of the file."""
    return f"{point.model_dump_json()}\n"


def parse(text: str) -> list[UsagePoint]:
    """The points of a file; a line that cannot be read, such as one cut short, is left out."""
    points = []
    for each in text.splitlines():
        try:
            points.append(UsagePoint.model_validate_json(each))
        except ValidationError:
            continue
    return points


def thinned(points: Sequence[UsagePoint], most_bytes: int = MOST_BYTES) -> str:
    """The content of a file that has room again, whatever it held."""
    kept = list(points)
    # What most of them stand for by now: only later ones, still finer, are drawn together to it.
    spacing = median(point.seconds for point in kept) if kept else 1.0
    content = "".join(map(line, kept))
    while len(content) > most_bytes * ROOM_AFTER_THINNING and len(kept) > 1:
        kept = _drawn_together(kept, spacing)
        content = "".join(map(line, kept))
        spacing *= 2
    return content


def _drawn_together(points: Sequence[UsagePoint], spacing: float) -> list[UsagePoint]:
    """Neighbours as one, as long as they stand for no more than ``spacing`` seconds."""
    kept: list[UsagePoint] = []
    for point in points:
        # A little more is allowed, because no interval is exact.
        if kept and kept[-1].seconds + point.seconds <= spacing * 1.2:
            kept[-1] = kept[-1].with_next(point)
        else:
            kept.append(point)
    return kept
