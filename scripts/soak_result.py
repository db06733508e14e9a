"""What a soak has seen, its laws, and the table that it prints.

Laws. Pure. A law that is broken is a line of its own; with none of them a soak is sound. Growth is
judged between the second fifth of the samples, when everything has happened once, and the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import linear_regression, median

MEMORY_KIB = 1024  # more between the two fifths is growth
DESCRIPTORS = 1
FEWEST_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one fault, or of several at once: seconds until the last tunnel served; None: not at all.

    `number` counts from 1; `bound` is what it might have taken.
    """

    number: int
    faults: tuple[str, ...]
    seconds: float | None
    bound: float

    @property
    def is_stuck(self) -> bool:
        return self.seconds is None or self.seconds > self.bound

    @property
    def name(self) -> str:
        return self.faults[0] if len(self.faults) == 1 else "two at once"


@dataclass(frozen=True, slots=True)
class Sample:
    """Of the supervisor after fault `number`, when every tunnel served."""

    number: int
    descriptors: int
    rss_kib: int
    pss_kib: int


@dataclass(slots=True)
class Soak:
    """`broken`: a line for each time that something was not as it has to be."""

    title: str
    outcomes: list[Outcome] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    visits: int = 0
    served: int = 0
    most_ssh: int = 0
    most_sessions: int = 0
    broken: list[str] = field(default_factory=list)


def laws(soak: Soak) -> list[str]:
    """What was broken; empty where nothing was."""
    stuck = [
        f"stuck: fault {one.number} ({' + '.join(one.faults)}): "
        + ("never served" if one.seconds is None else f"served after {one.seconds:.1f} s")
        + f", {one.bound:g} s allowed"
        for one in soak.outcomes
        if one.is_stuck
    ]
    return stuck + soak.broken + growth(soak.samples)


def growth(samples: Sequence[Sample]) -> list[str]:
    if len(samples) < FEWEST_SAMPLES:
        return []
    fifth = len(samples) // 5
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]
    found = []
    for name, unit, most, values in (
        ("descriptors", "", DESCRIPTORS, lambda one: one.descriptors),
        ("memory", " KiB", MEMORY_KIB, lambda one: one.rss_kib),
    ):
        before, after = median(map(values, early)), median(map(values, late))
        if after > before + most:
            found.append(f"{name} grew: {before:.0f}{unit} -> {after:.0f}{unit}")
    return found


def slope(samples: Sequence[Sample], of: str) -> float:
    """How much more with each fault, by least squares; 0 where there is nothing to tell."""
    if len(samples) < 2:
        return 0.0
    numbers = [one.number for one in samples]
    return linear_regression(numbers, [getattr(one, of) for one in samples]).slope


def to_lines(soak: Soak) -> list[str]:
    rows = [["", "times", "median", "95 %", "longest", "stuck"]]
    names = sorted({one.name for one in soak.outcomes})
    for name in [*names, "all"]:
        found = [one for one in soak.outcomes if name in (one.name, "all")]
        rows.append([name, *_row(found)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [soak.title, "  seconds from the end of a fault until every tunnel served again"]
    for row in rows:
        first, *rest = row
        cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        lines.append("  " + "  ".join([first.ljust(widths[0]), *cells]))
    lines.append(f"  visits: {soak.visits}, {soak.served} of them served")
    lines.append(
        f"  ssh at the same time: {soak.most_ssh}; sessions on the server afterwards: "
        f"{soak.most_sessions}"
    )
    if soak.samples:
        first_one, last = soak.samples[0], soak.samples[-1]
        for text, of, unit in (
            ("descriptors", "descriptors", ""),
            ("memory, RSS", "rss_kib", " KiB"),
            ("memory, PSS", "pss_kib", " KiB"),
        ):
            lines.append(
                f"  {text}: {getattr(first_one, of)}{unit} at first, {getattr(last, of)}{unit} in "
                f"the end; {1000 * slope(soak.samples, of):+.1f}{unit} in 1000 faults"
            )
    broken = laws(soak)
    lines += [f"  BROKEN  {line}" for line in broken] or ["  no law was broken"]
    return lines


def _row(outcomes: Sequence[Outcome]) -> list[str]:
    times = sorted(one.seconds for one in outcomes if one.seconds is not None)
    stuck = sum(one.is_stuck for one in outcomes)
    if not times:
        return [str(len(outcomes)), "never", "", "", str(stuck)]
    late = times[min(len(times) - 1, int(0.95 * len(times)))]
    return [
        str(len(outcomes)),
        *(f"{value:.1f}" for value in (median(times), late, times[-1])),
        str(stuck),
    ]
