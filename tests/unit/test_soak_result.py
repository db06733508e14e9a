"""A soak's laws and its table."""

from __future__ import annotations

import pytest

from scripts.soak_result import Outcome, Sample, Soak, growth, laws, slope, to_lines


def samples(
    *, rss: float = 0.0, descriptors: float = 0.0, start: int = 20_000, count: int = 50
) -> list[Sample]:
    """With so much more a sample."""
    return [
        Sample(5 * (n + 1), 20 + int(descriptors * n), start + int(rss * n), 15_000)
        for n in range(count)
    ]


def test_what_takes_longer_than_its_bound_is_stuck() -> None:
    good = Outcome(1, ("RST",), 15.0, 15.0)
    late = Outcome(2, ("RST",), 15.1, 15.0)
    never = Outcome(3, ("silence", "ssh killed"), None, 15.0)
    assert laws(Soak("", [good])) == []
    assert laws(Soak("", [good, late, never])) == [
        "stuck: fault 2 (RST): served after 15.1 s, 15 s allowed",
        "stuck: fault 3 (silence + ssh killed): never served, 15 s allowed",
    ]


def test_what_a_soak_found_broken_is_a_law_broken() -> None:
    assert laws(Soak("", broken=["fault 7 (RST): 4 sessions on the server"])) == [
        "fault 7 (RST): 4 sessions on the server"
    ]


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (samples(), []),
        (samples(rss=10), []),
        (samples(rss=50), ["memory"]),
        (samples(descriptors=0.1), ["descriptors"]),
        (samples(rss=50, descriptors=1), ["descriptors", "memory"]),
        (samples(rss=1000, count=9), []),  # too few to tell
    ],
)
def test_growth(found: list[Sample], names: list[str]) -> None:
    assert [line.split()[0] for line in growth(found)] == names


def test_what_grows_only_in_the_beginning_is_no_growth() -> None:
    warm = samples(rss=1000, count=10) + samples(start=30_000, count=40)
    assert growth(warm) == []


def test_the_slope_is_of_one_fault() -> None:
    assert slope(samples(rss=10), "rss_kib") == pytest.approx(2)
    assert slope(samples(rss=10)[:1], "rss_kib") == 0.0


def test_the_table() -> None:
    soak = Soak("soak: 3 faults", visits=40, served=30, most_ssh=3, most_sessions=3)
    soak.outcomes = [
        Outcome(1, ("RST",), 1.0, 15),
        Outcome(2, ("RST",), 2.0, 15),
        Outcome(3, ("RST", "ssh killed"), None, 15),
    ]
    soak.samples = samples(count=2)
    assert to_lines(soak) == [
        "soak: 3 faults",
        "  seconds from the end of a fault until every tunnel served again",
        "               times  median  95 %  longest  stuck",
        "  RST              2     1.5   2.0      2.0      0",
        "  two at once      1   never                     1",
        "  all              3     1.5   2.0      2.0      1",
        "  visits: 40, 30 of them served",
        "  ssh at the same time: 3; sessions on the server afterwards: 3",
        "  descriptors: 20 at first, 20 in the end; +0.0 in 1000 faults",
        "  memory, RSS: 20000 KiB at first, 20000 KiB in the end; +0.0 KiB in 1000 faults",
        "  memory, PSS: 15000 KiB at first, 15000 KiB in the end; +0.0 KiB in 1000 faults",
        "  BROKEN  stuck: fault 3 (RST + ssh killed): never served, 15 s allowed",
    ]
    assert to_lines(Soak("", soak.outcomes[:2]))[-1] == "  no law was broken"
