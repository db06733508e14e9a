"""`logs`: which entries are told, for people and for programs, and as they come."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import scenarios
from tests.support.command import WEB, FakeCli, says_one_thing
from tests.support.waiting import wait_for


def entry(event: str, ago: timedelta, profile: str = "web", **values: Any) -> dict[str, Any]:
    at = (datetime.now(UTC) - ago).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"v": 1, "at": at, "profile": profile, "event": event, **values}


def notices(*hours: float) -> list[dict[str, Any]]:
    return [entry("notice", timedelta(hours=each), text=f"{each:g} h ago") for each in hours]


def write(cli: FakeCli, name: str, *entries: dict[str, Any] | str) -> Path:
    """A journal as a supervisor has left it."""
    cli.places().prepare_state_dir()
    file = Path(cli.places().journal_file(name))
    lines = [each if isinstance(each, str) else json.dumps(each) for each in entries]
    file.write_text("".join(line + "\n" for line in lines))
    return file


def told(cli: FakeCli, *words: str) -> list[str]:
    done = cli("logs", "--json", *words)
    assert (done.status, done.err) == (0, ""), done
    return [json.loads(line).get("text", "") for line in done.out.splitlines()]


class TestWhichEntries:
    def test_the_last_of_them(self, cli: FakeCli) -> None:
        write(cli, "web", *notices(5, 4, 3, 2, 1))
        assert told(cli, "-n", "2") == ["2 h ago", "1 h ago"]
        assert told(cli, "-n", "0") == []
        assert len(told(cli, "--lines", "99")) == 5
        assert cli("logs", "-n", "-1").status == 2

    def test_two_hundred_unless_a_time_is_given(self, cli: FakeCli) -> None:
        write(cli, "web", *notices(*(hour / 100 for hour in range(300, 0, -1))))
        assert len(told(cli)) == 200
        assert len(told(cli, "--since", "7d")) == 300

    @pytest.mark.parametrize(
        ("words", "hours"),
        [
            (["--since", "150m"], [2, 1]),
            (["--since", "3h", "--until", "90m"], [2]),
            (["--until", "4h"], [50, 5]),
            (["--since", "1w", "--until", "2d"], [50]),
            (["--since", "yesterday", "-n", "1"], [1]),
        ],
    )
    def test_since_and_until_an_age(
        self, cli: FakeCli, words: list[str], hours: list[float]
    ) -> None:
        write(cli, "web", *notices(50, 5, 2, 1))
        assert told(cli, *words) == [f"{each} h ago" for each in hours]

    def test_since_a_date_and_a_time_of_any_zone(self, cli: FakeCli) -> None:
        cli.env["TZ"] = "Asia/Shanghai"
        write(cli, "web", *notices(50, 25, 2, 1))
        cut = datetime.now(UTC) - timedelta(hours=1.5)
        local = cut + timedelta(hours=8)
        assert told(cli, "--since", cut.isoformat()) == ["1 h ago"]
        assert told(cli, "--since", f"{local:%Y-%m-%d %H:%M}") == ["1 h ago"]
        assert told(cli, "--since", f"{local:%H:%M:%S}") == ["1 h ago"]
        midnight = local - timedelta(days=1)  # of that day: 25.5 to 49.5 h ago
        assert told(cli, "--until", f"{midnight:%Y-%m-%d}") == ["50 h ago"]

    def test_times_that_are_none(self, cli: FakeCli) -> None:
        for text in ("25:00", "tomorrowish", "2026-13-01", "5 minutes", "9999999999d", ""):
            done = cli("logs", "--since", text)
            assert (done.status, says_one_thing(done)) == (2, f'"{text}" is no time')
            assert '"22:00", "2026-11-22"' in done.err
        done = cli("logs", "--since", "1h", "--until", "2h")
        assert done.status == 2
        assert says_one_thing(done) == '--since "1h" is after --until "2h"'

    def test_of_which_tunnels(self, cli: FakeCli) -> None:
        """Also of those that are in no file any more."""
        write(cli, "gone", entry("notice", timedelta(hours=2), "gone", text="of gone"))
        write(cli, "web", *notices(1))
        cli.profiles(web={}, fresh={})
        assert told(cli) == ["of gone", "1 h ago"]
        assert told(cli, "gone") == ["of gone"]
        assert told(cli, "w*") == ["1 h ago"]
        done = cli("logs", "fresh")
        assert (done.status, done.err) == (0, "sshwrap: nothing has happened yet\n")
        done = cli("logs", "wep")
        assert (done.status, says_one_thing(done)) == (2, 'no profile "wep"')
        assert 'did you mean "web"?' in done.err


class TestWhatIsLeftOut:
    def test_damaged_and_newer_lines_are_counted(self, cli: FakeCli) -> None:
        newer = entry("up", timedelta(hours=2)) | {"v": 2, "moment": []}
        write(cli, "web", *notices(3), '{"v":1,"at":"2026-1', newer, "\x00\x00", *notices(1))
        done = cli("logs", "--json")
        assert len(done.out.splitlines()) == 2
        assert done.err.splitlines() == [
            "sshwrap: left out: 2 damaged lines of the journal",
            "sshwrap: left out: 1 line that a newer sshwrap wrote",
        ]
        assert cli("logs", "-q").err == ""

    def test_an_event_of_another_version_is_a_line(self, cli: FakeCli) -> None:
        write(cli, "web", entry("teleported", timedelta(hours=1), by=["x"]), *notices(0.5))
        done = cli("logs")
        assert done.status == 0
        assert "teleported" in done.out
        assert "0.5 h ago" in done.out

    def test_a_clock_that_was_set_back_loses_no_entry(self, cli: FakeCli) -> None:
        """In the order in which they were written, whatever their times say."""
        write(cli, "web", *notices(1), *notices(30), *notices(2))
        assert told(cli) == ["1 h ago", "30 h ago", "2 h ago"]
        done = cli("logs")
        assert done.status == 0
        assert [done.out.find(f"{each} h ago") >= 0 for each in (1, 30, 2)] == [True] * 3


class TestAsTheyCome:
    def test_over_a_rotation_and_a_new_profile(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        pid = cli.up("web")["supervisor_pid"]
        follow = cli.front("logs", "-f", "--json")
        follow.wait_for_words('"event": "up"')
        file = Path(cli.places().journal_file("web"))
        file.rename(file.with_name("web.jsonl.1"))
        os.kill(pid, signal.SIGUSR1)
        wait_for(lambda: follow.out.count('"event": "up"') == 2)
        cli.up("ha")
        wait_for(lambda: follow.out.count('"profile": "ha"') >= 2)
        follow.signal(signal.SIGINT)
        assert follow.wait() == 0
        entries = [json.loads(line) for line in follow.out.splitlines()]
        assert [one["event"] for one in entries if one["profile"] == "web"] == [
            "wanted",
            "up",
            "changed",  # USR1: reconnects as asked
            "up",
        ]

    def test_in_words_for_people(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.server_says([*scenarios.up([WEB])[:-1], ["wait_for", str(cli.folder / "go")]])
        cli.up("web")
        follow = cli.front("logs", "-f", "web")
        wait_for(lambda: "up" in follow.out)
        (cli.folder / "go").touch()
        cli.wait_for_entry("web", "down")
        wait_for(lambda: "ssh was ended by signal 15" in follow.out)
        follow.signal(signal.SIGINT)
        assert follow.wait() == 0

    def test_it_ends_when_nobody_reads_it(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        assert cli.into_a_closed_pipe("logs", "-f").status == 0
