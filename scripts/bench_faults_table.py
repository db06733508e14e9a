"""What the faults are called, what is asked of sshwrap in each, and the table that is made of it.

Laws. Pure. What never came back has no number: it counts as longer than any, and is printed as
never, with how long it was waited for. A target is judged by the median, which is what is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isinf
from statistics import median
from typing import Any

OURS, AUTOSSH, LOOP = "sshwrap", "autossh", "shell loop"
KEEPERS = (OURS, AUTOSSH, LOOP)
# A visitor comes that often where the quick ones are measured: nothing is known more exactly.
GRAIN = 0.05


@dataclass(frozen=True, slots=True)
class Row:
    """`most`: seconds that sshwrap may take; None: no more than autossh, but for the grain."""

    name: str
    text: str
    most: float | None
    keepers: tuple[str, ...] = KEEPERS


ROWS = (
    Row("killed", "ssh killed (KILL)", None),
    Row("rst", "RST on the wire", None),
    Row("server", "sshd away for 5 s, from its return", 1.0),
    Row("silence", "20 s of silence, from their end", 1.0),
    Row("route", "120 s without a route, from their end", 1.0),
    Row("long", "600 s without a route, from their end", 1.0),
    Row("address", "another public address (NAT)", 8.0),
    Row("address-15x3", "the same, keepalive 15 x 3", 25.0),
    Row("port", "port held by another, from its release", 2.0),
    Row("half", "IPv4 of it held, from its release", 2.0),
    Row("flagged", "IPv4 held: status says so, from coming up", 1.0, (OURS,)),
    Row("start", "started before the network, from its coming", 1.0),
    Row("suspend", "suspended, and the line is dead, from waking", 4.0),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """`seconds` is None where nothing came within `within` seconds."""

    row: str
    keeper: str
    seconds: float | None
    within: float


@dataclass(slots=True)
class Table:
    """`skipped`: row, or "" for all -> why it was not measured; `failures`: what broke off."""

    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def of(self, row: str, keeper: str) -> list[Sample]:
        return [one for one in self.samples if (one.row, one.keeper) == (row, keeper)]

    def median(self, row: str, keeper: str) -> float | None:
        """Infinite where it mostly never came back; None where it was not measured."""
        found = [_value(one) for one in self.of(row, keeper)]
        return median(found) if found else None

    def rows(self) -> list[Row]:
        measured = {one.row for one in self.samples}
        return [row for row in ROWS if row.name in measured]

    def targets(self) -> list[Target]:
        return [target for row in self.rows() if (target := self._target(row)) is not None]

    def _target(self, row: Row) -> Target | None:
        value = self.median(row.name, OURS)
        if value is None:
            return None
        if row.most is not None:
            return Target(f"{row.text}: {_shown(value)} <= {row.most:g}", value, row.most)
        other = self.median(row.name, AUTOSSH)
        if other is None:
            return None
        text = f"{row.text}: {_shown(value)} <= {_shown(other)} of autossh, give or take {GRAIN:g}"
        return Target(text, value, other + GRAIN)


@dataclass(frozen=True, slots=True)
class Target:
    text: str
    value: float
    limit: float

    @property
    def is_met(self) -> bool:
        return not isinf(self.value) and self.value <= self.limit


TITLE = "seconds until a visitor is served again, all of them in the same fault; keepalive 3 x 2"


def to_lines(table: Table) -> list[str]:
    """For a terminal, and for a code block of a document."""
    if not table.rows():
        return [f"faults: {TITLE}", *_skipped(table)]
    cells = [[row.text, *(_cell(table, row, keeper) for keeper in KEEPERS)] for row in table.rows()]
    grid = [["", *KEEPERS], *cells]
    widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
    lines = [f"faults: {TITLE}"]
    for line in grid:
        texts = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        lines.append(("  " + "  ".join(texts)).rstrip())
    lines += [
        f"  {'met   ' if target.is_met else 'MISSED'}  {target.text}" for target in table.targets()
    ]
    rounds = {len(table.of(row.name, OURS)) for row in table.rows()}
    if rounds == {1}:
        lines.append("  note: one sample each")
    else:
        low, high = min(rounds), max(rounds)
        count = f"{low}" if low == high else f"{low} to {high}"
        lines.append(f"  note: the median of {count} samples, and from - to")
    return lines + _skipped(table)


def to_json(table: Table) -> dict[str, Any]:
    """As `bench_result.to_json` has it; a median or sample that never came is null."""
    rows = []
    for row in table.rows():
        for keeper in row.keepers:
            found = table.of(row.name, keeper)
            if not found:
                continue
            rows.append(
                {
                    "name": f"{row.name}: {keeper}",
                    "text": row.text,
                    "unit": "s",
                    "median": _finite(median(map(_value, found))),
                    "samples": [one.seconds for one in found],
                    "within": max(one.within for one in found),
                }
            )
    targets = [
        {
            "text": target.text,
            "value": _finite(target.value),
            "limit": _finite(target.limit),
            "at_least": False,
            "met": target.is_met,
        }
        for target in table.targets()
    ]
    notes = [line.strip() for line in _skipped(table)]
    return {"name": "faults", "title": TITLE, "rows": rows, "targets": targets, "notes": notes}


def samples_from_json(lines: Iterable[Mapping[str, Any]]) -> list[Sample]:
    return [Sample(line["row"], line["keeper"], line["seconds"], line["within"]) for line in lines]


def _skipped(table: Table) -> list[str]:
    texts = {row.name: row.text for row in ROWS}
    what = {name: f"{texts[name]}: " if name else "" for name in table.skipped}
    lines = [f"  skipped: {what[name]}{why}" for name, why in table.skipped.items()]
    return lines + [f"  failed: {failure}" for failure in table.failures]


def _cell(table: Table, row: Row, keeper: str) -> str:
    found: Sequence[Sample] = table.of(row.name, keeper)
    if not found:
        return "-"
    values = [_value(one) for one in found]
    middle, low, high = median(values), min(values), max(values)
    within = max(one.within for one in found)
    if isinf(low):
        return f"never (> {within:g})"
    spread = "" if len(values) == 1 else f" ({_shown(low)} - {_shown(high)})"
    return _shown(middle) + spread


def _value(sample: Sample) -> float:
    return inf if sample.seconds is None else sample.seconds


def _finite(value: float) -> float | None:
    return None if isinf(value) else value


def _shown(value: float) -> str:
    """Hundredths below ten seconds, tenths above: what a grain of 0.05 s can tell."""
    return "never" if isinf(value) else f"{value:.2f}" if value < 10 else f"{value:.1f}"
