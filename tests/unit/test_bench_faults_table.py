"""The benchmark's table of faults: medians with what never came back, targets, and its text."""

from __future__ import annotations

import json
from math import isinf

from scripts.bench_faults_table import (
    AUTOSSH,
    GRAIN,
    LOOP,
    OURS,
    ROWS,
    Sample,
    Table,
    samples_from_json,
    to_json,
    to_lines,
)


def table(**rows: dict[str, list[float | None]]) -> Table:
    return Table(
        [
            Sample(row, keeper, seconds, 90.0)
            for row, keepers in rows.items()
            for keeper, samples in keepers.items()
            for seconds in samples
        ]
    )


def met(found: Table) -> list[bool]:
    return [target.is_met for target in found.targets()]


def test_what_never_came_back_is_longer_than_any_number() -> None:
    found = table(address={OURS: [7.0, None, 8.0], AUTOSSH: [None, 3.0, None]})
    assert found.median("address", OURS) == 8.0
    late = found.median("address", AUTOSSH)
    assert late is not None
    assert isinf(late)
    assert found.median("address", LOOP) is None


def test_a_target_is_judged_by_the_median() -> None:
    assert met(table(address={OURS: [1.0, 8.0, None]})) == [True]
    assert met(table(address={OURS: [1.0, 8.1, None]})) == [False]
    assert met(table(address={OURS: [1.0, None, None]})) == [False]


def test_no_slower_than_autossh_but_for_the_grain_of_the_visits() -> None:
    assert met(table(killed={OURS: [0.3 + GRAIN / 2], AUTOSSH: [0.3]})) == [True]
    assert met(table(killed={OURS: [0.3 + 2 * GRAIN], AUTOSSH: [0.3]})) == [False]
    assert met(table(killed={OURS: [9.0], AUTOSSH: [None]})) == [True]
    assert met(table(killed={OURS: [None], AUTOSSH: [None]})) == [False]
    assert met(table(killed={OURS: [0.3]})) == []


def test_rows_stand_in_the_tables_order_and_only_those_that_were_measured() -> None:
    found = table(silence={OURS: [1.0]}, killed={OURS: [1.0], AUTOSSH: [1.0]})
    assert [row.name for row in found.rows()] == ["killed", "silence"]
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_text() -> None:
    found = table(
        killed={OURS: [0.2, 0.3, 0.4], AUTOSSH: [0.1, 0.2, 12.34], LOOP: [1.5]},
        address={OURS: [7.5, 9.0, None], AUTOSSH: [None] * 3, LOOP: [None] * 3},
    )
    found.skipped = {"suspend": "no clock here"}
    found.failures = ["round 2 could not go on"]
    assert to_lines(found)[1:] == [
        "                                sshwrap              autossh             shell loop",
        "  ssh killed (KILL)             0.30 (0.20 - 0.40)   0.20 (0.10 - 12.3)  1.50",
        "  another public address (NAT)  9.00 (7.50 - never)  never (> 90)        never (> 90)",
        "  MISSED  ssh killed (KILL): 0.30 <= 0.20 of autossh, give or take 0.05",
        "  MISSED  another public address (NAT): 9.00 <= 8",
        "  note: the median of 3 samples, and from - to",
        "  skipped: suspended, and the line is dead, from waking: no clock here",
        "  failed: round 2 could not go on",
    ]


def test_one_sample_has_no_spread() -> None:
    lines = to_lines(table(flagged={OURS: [0.4]}))
    assert lines[2].split()[-3:] == ["0.40", "-", "-"]
    assert lines[-1] == "  note: one sample each"


def test_a_table_without_a_row_says_why() -> None:
    assert to_lines(Table(skipped={"": "only root can make hosts"}))[1:] == [
        "  skipped: only root can make hosts"
    ]


def test_the_numbers_are_json_without_infinity() -> None:
    found = to_json(table(address={OURS: [7.5], AUTOSSH: [None]}))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    by_name = {row["name"]: row for row in found["rows"]}
    assert by_name["address: sshwrap"]["median"] == 7.5
    assert by_name["address: autossh"]["median"] is None
    assert by_name["address: autossh"]["samples"] == [None]
    assert [target["met"] for target in found["targets"]] == [True]


def test_samples_come_back_as_a_house_wrote_them() -> None:
    line = {"row": "rst", "keeper": OURS, "seconds": None, "within": 30.0}
    assert samples_from_json([line]) == [Sample("rst", OURS, None, 30.0)]
