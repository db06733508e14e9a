"""What a benchmark run is made of, and how it is printed: samples, medians, ratios, targets.

Laws. A median always stands beside its spread and beside the one it is held against; a target is
judged by the numbers that are printed, and one that is missed is printed as missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant's samples; `beside` names the row that its ratio is taken to."""

    name: str
    unit: str
    samples: tuple[float, ...]
    beside: str | None = None

    @property
    def median(self) -> float:
        return median(self.samples)


@dataclass(frozen=True, slots=True)
class Target:
    """`value` has to be at most `limit` (`at_least`: at least)."""

    text: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(slots=True)
class Measure:
    """A table of the report with its targets; `notes` are what a reader has to know of it."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, name: str, unit: str, samples: Sequence[float], beside: str | None = None
    ) -> float:
        """Add a row; its median."""
        row = Row(name, unit, tuple(samples), beside)
        self.rows.append(row)
        return row.median

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def ratio(self, row: Row) -> float | None:
        """To the row it is held against: the median of the ratios, round by round.

        Both were taken within seconds of each other, so what slowed one slowed the other.
        """
        if row.beside is None:
            return None
        pairs = zip(row.samples, self.row(row.beside).samples, strict=True)
        return median(sample / base for sample, base in pairs)


def to_json(measure: Measure) -> dict[str, Any]:
    return {
        "name": measure.name,
        "title": measure.title,
        "rows": [
            {
                "name": row.name,
                "unit": row.unit,
                "median": row.median,
                "samples": list(row.samples),
                "beside": row.beside,
                "ratio": measure.ratio(row),
            }
            for row in measure.rows
        ],
        "targets": [
            {
                "text": target.text,
                "value": target.value,
                "limit": target.limit,
                "at_least": target.at_least,
                "met": target.is_met,
            }
            for target in measure.targets
        ],
        "notes": list(measure.notes),
    }


def to_lines(measure: Measure) -> list[str]:
    """The measure as a table for a terminal, or for a code block of a document."""
    width = max(len(row.name) for row in measure.rows)
    head = f"{measure.name}: {measure.title}"
    lines = [head, f"  {'':{width}}  {'median':>11}  {'from - to':>19}  ratio"]
    for row in measure.rows:
        ratio = measure.ratio(row)
        shown = "" if ratio is None else f"{ratio:.2f} x {row.beside}"
        spread = f"{_number(min(row.samples))} - {_number(max(row.samples))}"
        if len(row.samples) == 1:
            spread = ""
        value = f"{_number(row.median)} {row.unit}"
        lines.append(f"  {row.name:{width}}  {value:>11}  {spread:>19}  {shown}".rstrip())
    for target in measure.targets:
        verdict = "met   " if target.is_met else "MISSED"
        sign = ">=" if target.at_least else "<="
        lines.append(
            f"  {verdict}  {target.text}: {_number(target.value)} {sign} {_number(target.limit)}"
        )
    lines += [f"  note: {note}" for note in measure.notes]
    return lines


def machine_lines(machine: Mapping[str, Any]) -> list[str]:
    return [f"{key}: {value}" for key, value in machine.items()]


def _number(value: float) -> str:
    """Three digits that mean something: 0.184, 12.3, 431."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"
