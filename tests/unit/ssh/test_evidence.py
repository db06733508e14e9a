from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.ssh.evidence import (
    Evidence,
    Index,
    Progress,
    classify_line,
    classify_terminal_line,
    keep_words,
)
from sshwrap.ssh.messages import Row, Where
from sshwrap.ssh.rows import ROWS
from tests.unit.ssh.recorded import CONSTRUCTED, lines_of, recordings

COMPILED = [(row, re.compile(row.pattern)) for row in ROWS]
LOG_ROWS = [pair for pair in COMPILED if pair[0].where is not Where.TERMINAL]
TERMINAL_ROWS = [
    (row, pattern) for row, pattern in COMPILED if row.is_failure and row.where is not Where.LOG
]


def in_order(
    rows: list[tuple[Row, re.Pattern[str]]], line: str
) -> tuple[str, dict[str, str]] | None:
    """What the table means, without the dispatch: every row, one after the other."""
    for row, pattern in rows:
        match = pattern.fullmatch(line)
        if match is not None:
            return row.kind, match.groupdict()
    return None


def found(evidence: Evidence | None) -> tuple[str, dict[str, str]] | None:
    return None if evidence is None else (evidence.kind, dict(evidence.detail))


def agrees(line: str) -> None:
    assert found(classify_line(line)) == in_order(LOG_ROWS, line)
    assert found(classify_terminal_line(line)) == in_order(TERMINAL_ROWS, line)


@st.composite
def near_misses(draw: st.DrawFn) -> str:
    """Lines that begin or end as a row does, with anything put into its gaps."""
    row = draw(st.sampled_from(ROWS))
    gap = st.sampled_from(
        ["", "8080", "-2", "vps.example.com", "a b", "x: y", "[::1]", "127.0.0.1"]
    )
    line = re.sub(r"\{\w*\}", lambda _: draw(gap), row.format)
    cut = draw(st.integers(0, 12))
    return draw(st.sampled_from([line, line[cut:], line[: len(line) - cut], line + "!"]))


@settings(max_examples=60)
@given(near_misses())
def test_dispatch_is_the_table_in_order(line: str) -> None:
    agrees(line)


def test_dispatch_on_everything_recorded() -> None:
    lines = {line for name in recordings() for _, line in lines_of(name)}
    lines |= {line for _, _, line, _ in CONSTRUCTED}
    short = sorted(lines, key=lambda line: (len(line), line))
    # Every fortieth: 130 rows on all 4,000 lines would take longer than all unit tests may.
    for line in short[::40]:
        agrees(line)


@pytest.mark.parametrize("line", ["", " ", "debug1: ", "debug1:", "debug2: x", "x", "debug1: x"])
def test_lines_that_no_row_knows(line: str) -> None:
    assert classify_line(line) is None
    assert classify_terminal_line(line) is None


def test_first_row_wins_also_across_buckets() -> None:
    rows = [Row("anything", "{} ends", "here"), Row("named", "banner ends", "here")]
    index = Index(rows, from_terminal=False)
    assert found(index.classify("banner ends")) == ("anything", {})
    reverse = Index(rows[::-1], from_terminal=False)
    assert found(reverse.classify("banner ends")) == ("named", {})


def test_the_terminal_proves_no_progress() -> None:
    for line in {line for name in recordings() for _, line in lines_of(name)}:
        evidence = classify_terminal_line(line)
        assert evidence is None or (evidence.is_failure and evidence.from_terminal)
        if classify_line(line) is not None and evidence is None:
            # known to ssh's log: on a terminal it is a ProxyJump's ssh, or a banner
            assert keep_words(line, from_terminal=True) is None


def test_words_that_no_row_knows_are_kept() -> None:
    kept = keep_words("cloudflared: the gate is shut", from_terminal=True)
    assert kept == Evidence(
        "unknown", "cloudflared: the gate is shut", is_failure=True, from_terminal=True
    )
    assert keep_words("debug1: Authentications that might continue") is None
    assert keep_words("debug3: send packet") is None


def test_markup_and_odd_names_are_data() -> None:
    evidence = classify_line("debug1: Remote: [bold]forwarding_success[/bold]")
    assert evidence is not None
    assert evidence.kind == Progress.REMOTE_SAYS
    assert evidence.get("text") == "[bold]forwarding_success[/bold]"
    assert evidence.get("nothing") is None


def test_rows_are_whole_lines_with_names_of_their_own() -> None:
    seen = set()
    for row in ROWS:
        assert (row.format, row.where) not in seen, row.format
        seen.add((row.format, row.where))
        assert row.source
        names = set(re.compile(row.pattern).groupindex)
        assert not row.is_failure or not names & {"kind", "said", "destination", "profile"}
        assert row.is_failure or row.where is not Where.TERMINAL, row.format
        assert re.match(re.escape(row.literal), row.format)
