from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.render.availability import AWAY, ENDED, UNKNOWN, UNWANTED, UP, tally
from sshwrap.render.layout import width
from sshwrap.render.page import Page
from sshwrap.render.story import Folder, Teller, headline, story_lines
from tests.support.screens import entry, failure, texts

EVENING = "2026-11-21T"
MORNING = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SINCE = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
FORWARDS = [{"kind": "remote", "address": "vps.example.com:12345", "connect": "localhost:8080"}]
Entry = dict[str, Any]


def down(at: str, why: str, up_for: float, last_seen: str | None = None, **values: Any) -> Entry:
    seen = last_seen or (at if "T" in at else f"2026-11-22T{at}Z")
    reason = failure(why, kind=why.replace(" ", "_"))
    return entry("down", at, failure=reason, up_for=up_for, last_seen=seen, retry_in=0, **values)


def up(at: str, after: float, attempts: int = 1, **values: Any) -> Entry:
    first = values.pop("first", False)
    return entry("up", at, forwards=FORWARDS, attempts=attempts, after=after, first=first, **values)


def tried(at: str, why: str = "no route to vps.example.com", **values: Any) -> Entry:
    return entry("attempt_failed", at, failure=failure(why), attempt=1, retry_in=1, **values)


def bad_night() -> list[Entry]:
    return [
        down(
            f"{EVENING}22:41:07Z",
            "vps.example.com stopped answering",
            9000,
            f"{EVENING}22:40:07Z",
        ),
        up(f"{EVENING}22:41:10Z", 63),
        down("02:14:52", "no network here", 12822),
        *(tried(f"02:{15 + number // 4}:{number % 4 * 15:02}") for number in range(6)),
        up("02:16:41", 109, 7),
        down("05:30:02", "the server closed the connection", 11601),
        up("05:30:41", 39, 4),
    ]


def story(entries: list[Entry], columns: int = 80, **values: Any) -> list[str]:
    page = Page(columns)
    return texts(story_lines(entries, page, MORNING, **values), page)


def test_a_bad_night_at_a_glance() -> None:
    assert story(bad_night(), since=SINCE) == [
        "web   22:00 to 08:00: 99.4 % up, 3 drops, 3 min 31 s away",
        "2026-11-21",
        "22:41:07  down       vps.example.com stopped answering; no sign of life since",
        "                     22:40:07",
        "22:41:10  up         back after 1 min 3 s",
        "2026-11-22",
        "02:14:52  down       no network here",
        "02:15:00  tried      no route to vps.example.com",
        "02:15:15  tried      5 more tries until 02:16:15, the same answer",
        "02:16:41  up         back after 1 min 49 s, 7 tries",
        "05:30:02  down       the server closed the connection",
        "05:30:41  up         back after 39 s, 4 tries",
    ]


def flapping(times: int, profile: str = "cam") -> list[Entry]:
    start = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
    entries = []
    for minute in range(times):
        at = (start + timedelta(minutes=minute)).isoformat()
        back = (start + timedelta(minutes=minute, seconds=2)).isoformat()
        entries += [
            down(at, "the server closed the connection", 58, at, profile=profile),
            up(back, 2, profile=profile),
        ]
    return entries


def test_flapping_is_told_once() -> None:
    assert story(flapping(41)) == [
        "cam   02:59 to 08:00: 99.5 % up, 41 drops, 1 min 22 s away",
        "03:00:00  down       the server closed the connection",
        "03:00:02  up         back after 2 s",
        "03:01:00  again      the same 40 more times until 03:40:02, 1 min 20 s away in",
        "                     all",
    ]


def address_changes(times: int) -> list[Entry]:
    """Every hour the line dies, and the dead session has to be ended before it is up again."""
    entries: list[Entry] = []
    at = "vps.example.com:12345"
    ended = "our dead session still held port 12345: ended it"
    for hour in range(1, times + 1):
        entries += [
            entry("doubt", f"0{hour}:00:00", text="nothing was acknowledged for 2 s: looking"),
            down(f"0{hour}:00:03", "the line is dead", 3000),
            tried(f"0{hour}:00:03", "port 12345 is taken on vps.example.com"),
            entry("reclaim", f"0{hour}:00:04", outcome="ended", text=ended),
            up(f"0{hour}:00:05", 2, 2),
            entry("reach", f"0{hour}:00:05", reach="half_bound", address=at, bound=["::"]),
            entry("reach", f"0{hour}:00:09", reach="as_asked", address=at, bound=["::", "0.0.0.0"]),
        ]
    return entries


def test_a_dead_session_that_was_ended_is_part_of_the_story() -> None:
    assert story(address_changes(1))[1:] == [
        "01:00:00  doubt      nothing was acknowledged for 2 s: looking",
        "01:00:03  down       the line is dead",
        "01:00:03  tried      port 12345 is taken on vps.example.com",
        "01:00:04  reclaimed  our dead session still held port 12345: ended it",
        "01:00:05  up         back after 2 s, 2 tries",
        "01:00:05  up, but    vps.example.com:12345 is only half ours: visitors by IPv6",
        "                     alone get through; another program has the other half;",
        "                     asked for again until it is free",
        "01:00:09  as asked   vps.example.com:12345 listens on every address",
    ]


def test_the_whole_of_a_recovery_is_told_once_when_it_repeats() -> None:
    lines = story(address_changes(4))
    assert lines[2:-1] == story(address_changes(1))[2:]
    assert lines[-1] == (
        "02:00:00  again      the same 3 more times until 04:00:09, 6 s away in all"
    )


def test_what_is_seen_of_a_tunnel_is_no_outage() -> None:
    seen = [entry("from_here", "06:30:00", from_here="refused", old="open"), *address_changes(1)]
    quiet = [each for each in seen if each["event"] in ("reach", "from_here", "doubt", "reclaim")]
    assert counted([up("06:00:00", 0, first=True), *quiet[:1]]) == {UP: 7200}
    assert {each["event"] for each in quiet} == {"reach", "from_here", "doubt", "reclaim"}
    assert counted(sorted(quiet, key=lambda each: str(each["at"]))).keys() == {UNKNOWN}


def test_twice_is_not_yet_a_habit() -> None:
    assert len(story(flapping(2))) == 5


def test_several_profiles_are_merged_by_time() -> None:
    both = sorted([*bad_night()[2:], *flapping(3)], key=lambda each: each["at"])
    lines = story(both, since=SINCE)
    assert lines[0].startswith("web   22:00 to 08:00: ")
    assert lines[2].startswith("cam   22:00 to 08:00: ")
    assert [line.split()[:3] for line in lines[-5:]] == [
        ["03:00:00", "cam", "down"],
        ["03:00:02", "cam", "up"],
        ["03:01:00", "cam", "again"],
        ["05:30:02", "web", "down"],
        ["05:30:41", "web", "up"],
    ]


def test_a_different_answer_ends_a_fold() -> None:
    entries = [
        *(tried(f"02:00:0{number}") for number in range(3)),
        tried("02:00:05", "vps.example.com refused the connection"),
        *(tried(f"02:00:0{number}") for number in (6, 7)),
    ]
    assert story(entries)[1:] == [
        "02:00:00  tried      no route to vps.example.com",
        "02:00:01  tried      2 more tries until 02:00:02, the same answer",
        "02:00:05  tried      vps.example.com refused the connection",
        "02:00:06  tried      no route to vps.example.com",
        "02:00:07  tried      no route to vps.example.com",
    ]


def test_looks_and_notices_fold_too() -> None:
    ask = failure("the key is not known there", "", "ssh-copy-id me@vps", "permission_denied")
    entries = [
        *(entry("needs_person", f"0{h}:00:00", failure=ask, retry_in=900) for h in range(1, 5)),
        *(entry("notice", f"05:00:0{n}", text="weak key exchange") for n in range(4)),
    ]
    assert story(entries)[1:] == [
        "01:00:00  needs you  the key is not known there; do: ssh-copy-id me@vps",
        "02:00:00  needs you  3 more looks until 04:00:00, the same answer",
        "05:00:00  ssh        weak key exchange",
        "05:00:01  ssh        3 more times until 05:00:03: weak key exchange",
    ]


def test_a_first_start_tells_the_address() -> None:
    entries = [
        entry("wanted", "07:00:00", by="up"),
        up("07:00:01", 1, first=True),
    ]
    assert story(entries)[1:] == [
        "07:00:00  starting   asked for",
        "07:00:01  up         vps.example.com:12345 → localhost:8080",
    ]


@pytest.mark.parametrize("columns", [26, 40, 60, 80, 200])
def test_a_story_is_as_wide_as_the_terminal(columns: int) -> None:
    both = sorted([*bad_night(), *flapping(5, "门牌号")], key=lambda each: each["at"])
    for line in story(both, columns, since=SINCE):
        assert width(line) <= columns, line


def test_following_holds_repeats_back_until_something_else_happens() -> None:
    folder, teller = Folder(), Teller(Page(), MORNING, 0)

    def follow(each: Entry) -> list[str]:
        return texts((line for told in folder.feed(each) for line in teller.lines(told)), Page())

    assert follow(tried("07:00:00")) == ["07:00:00  tried      no route to vps.example.com"]
    assert follow(tried("07:00:01")) == []
    assert follow(tried("07:00:03")) == []
    assert follow(up("07:00:04", 4, 4)) == [
        "07:00:01  tried      2 more tries until 07:00:03, the same answer",
        "07:00:04  up         back after 4 s, 4 tries",
    ]
    assert follow(down("07:00:05", "x", 1)) == ["07:00:05  down       x"]
    assert folder.rest() == []


def test_damaged_entries_are_passed_over() -> None:
    assert story([{"event": "down"}, {"at": "soon", "profile": "web"}])[2:] == []


# --- availability ---


def counted(entries: list[Entry], since: datetime | None = None) -> dict[str, float]:
    return {
        condition: seconds
        for condition, seconds in tally(entries, since, MORNING).seconds.items()
        if seconds
    }


def test_an_outage_begins_at_the_last_proof_of_life() -> None:
    entries = [down("07:00:10", "x", 3600, "2026-11-22T07:00:00Z"), up("07:00:30", 30)]
    assert counted(entries) == {UP: 3590 + 3570, AWAY: 30}


def test_only_wanted_time_counts() -> None:
    entries = [
        entry("wanted", "06:00:00", by="up"),
        up("06:00:10", 10, first=True),
        entry("unwanted", "07:00:10", by="down"),
    ]
    assert counted(entries) == {AWAY: 10, UP: 3600, UNWANTED: 3590}


def test_a_supervisor_that_went_without_a_word_leaves_a_gap() -> None:
    entries = [
        entry("wanted", "06:00:00", by="up"),
        up("06:00:10", 10, first=True),
        entry("wanted", "07:00:10", by="start"),
        up("07:00:20", 10, first=True),
    ]
    assert counted(entries) == {AWAY: 20, UNKNOWN: 3600, UP: 3580}


@pytest.mark.parametrize(("by", "condition"), [("start", AWAY), ("up", ENDED)])
def test_a_supervisor_that_ended_was_away_if_it_was_taken_up_again(by: str, condition: str) -> None:
    entries = [
        up("06:00:00", 0, first=True),
        entry("unwanted", "06:10:00", by="supervisor ended"),
        entry("wanted", "06:20:00", by=by),
        up("06:20:00", 0, first=True),
    ]
    assert counted(entries) == {UP: 600 + 6000, condition: 600}


def test_a_supervisor_that_ended_and_left_it_wanted_was_away_whoever_took_it_up() -> None:
    """A unit's `sshwrap up` is no other than a person's."""
    entries = [
        up("06:00:00", 0, first=True),
        entry("unwanted", "06:10:00", by="supervisor ended"),
        entry("changed", "06:20:00", text="…", before="ended"),
        entry("wanted", "06:20:00", by="up"),
        up("06:20:00", 0, first=True),
    ]
    assert counted(entries) == {UP: 600 + 6000, AWAY: 600}
    assert headline(entries, MORNING, since=None, until=MORNING).endswith(", no drop, 10 min away")


def test_what_is_said_of_a_supervisor_that_went_without_a_word_counts_nothing_as_up() -> None:
    entries = [
        up("06:00:10", 0, first=True),
        entry("changed", "07:00:10", text="…", before="gone"),
        entry("wanted", "07:00:10", by="up"),
        up("07:00:20", 10, first=True),
    ]
    assert counted(entries) == {UNKNOWN: 3600, AWAY: 10, UP: 3580}


def test_a_restart_is_away_and_no_drop() -> None:
    entries = [
        up("06:00:00", 0, first=True),
        entry("wanted", "07:00:00", by="restart"),
        up("07:00:02", 2),
    ]
    assert counted(entries) == {UP: 3600 + 3598, AWAY: 2}
    assert tally(entries, None, MORNING).drops == 0


def test_still_away_at_the_end() -> None:
    entries = [up("06:00:00", 0, first=True), down("07:00:00", "x", 3600)]
    assert tally(entries, None, MORNING).away_since == datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
    assert headline(entries, MORNING, since=None, until=MORNING) == (
        "06:00 to 08:00: 50.0 % up, 1 drop, 1 h away, down since 07:00:00"
    )


def test_a_window_that_begins_within_a_run() -> None:
    since = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    entries = [down("07:00:00", "x", 86400), up("07:00:36", 36)]
    assert counted(entries, since) == {UP: 7164, AWAY: 36}


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (0, "100 % up, no drop"),
        (0.5, "99.99 % up, 1 drop, less than 1 s away"),
        (5, "99.93 % up, 1 drop, 5 s away"),
        (72, "99.0 % up, 1 drop, 1 min 12 s away"),
        (7199.9, "0.0 % up, 1 drop, 1 h 59 min away"),
    ],
)
def test_a_hundred_per_cent_means_never_away(away: float, text: str) -> None:
    at = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    entries = [up("06:00:00", 0, first=True)]
    if away:
        entries += [
            down("06:00:00", "x", 0),
            up((at + timedelta(seconds=away)).isoformat(), away),
        ]
    assert headline(entries, MORNING, since=None, until=MORNING) == f"06:00 to 08:00: {text}"


def test_never_wanted() -> None:
    entries = [entry("unwanted", "07:00:00", by="down")]
    assert headline(entries, MORNING, since=None, until=MORNING) == "07:00 to 08:00: not wanted"


def test_a_window_of_days_has_dates() -> None:
    since = datetime(2026, 11, 19, 22, 0, tzinfo=UTC)
    assert headline(bad_night(), MORNING, since=since, until=MORNING).startswith(
        "2026-11-19 22:00 to 08:00: "
    )


STEPS = st.sampled_from(["up", "down", "attempt_failed", "wanted", "unwanted", "needs_person"])


@settings(max_examples=30)
@given(st.lists(st.tuples(STEPS, st.integers(-600, 7200), st.floats(0, 1e6)), max_size=12))
def test_every_second_is_counted_once(steps: list[tuple[str, int, float]]) -> None:
    start = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    entries = [
        entry(event, (start + timedelta(seconds=at)).isoformat(), after=span, up_for=span)
        for event, at, span in steps
    ]
    total = sum(tally(entries, start, MORNING).seconds.values())
    assert total == pytest.approx(7200)
