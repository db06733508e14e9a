from __future__ import annotations

from typing import Any

import pytest

from sshwrap.render.layout import width
from sshwrap.render.page import Page
from sshwrap.render.table import status_lines, status_rows
from tests.support.screens import NOW, failure, forward, texts, the_four, tunnel, visited

AT_80 = """\
web  up         3 h 12 min   vps.example.com:12345 → localhost:8080
                             answers from here · 2 visitors now, 41 in all
                             last 198.51.100.23 at 10:30
ha   up, but    3 h 12 min   vps.example.com:8123 → localhost:8123
                nothing answers on localhost:8123 on this machine: the tunnel is
                fine and serves again as soon as the program does
cam  waiting    40 s         vps2.example.net:2201 → 192.0.2.30:22
                vps2.example.net does not answer (timed out); next try in 14 s
                ssh: connect to host vps2.example.net port 22: Connection timed
                out
                do: see whether vps2.example.net is on
db   needs you  1 min 43 s   db.example.org:5432 → localhost:5432
                db.example.org shows another host key
                ssh: Host key verification failed.
                do: ask its owner, then ssh-keygen -R db.example.org
                looks again by itself at 10:46:31
"""
AT_40 = """\
web  up  3 h 12 min
  vps.example.com:12345 → localhost:8080
  answers from here
  2 visitors now, 41 in all
  last 198.51.100.23 at 10:30
"""
AT_20 = """\
web  up  3 h 12 min
  vps.example.com:12
  345
  → localhost:8080
  answers from here
  2 visitors now, 41
  in all
  last 198.51.100.23
  at 10:30
"""


def status(snapshots: list[dict[str, Any]], columns: int = 80, **page: Any) -> list[str]:
    shown = Page(columns, **page)
    return texts(status_lines(snapshots, shown, NOW), shown)


def test_status_on_a_terminal() -> None:
    assert status(the_four()) == AT_80.splitlines()


@pytest.mark.parametrize(("columns", "text"), [(40, AT_40), (20, AT_20)])
def test_status_on_a_narrow_terminal(columns: int, text: str) -> None:
    assert status(the_four()[:1], columns) == text.splitlines()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_line_is_wider_than_the_terminal(encoding: str) -> None:
    wide = tunnel("x" * 64, description="家里的摄像头，经过小服务器 " * 5)
    for columns in (1, 5, 12, 20, 33, 47, 48, 66, 67, 79, 80, 200):
        for line in status([*the_four(), wide], columns, encoding=encoding):
            assert width(line) <= max(columns, 20), line
            assert line.isascii() or encoding == "utf-8"


def test_wide_characters_take_two_cells() -> None:
    text = "家里的摄像头经过小服务器" * 4
    lines = status([tunnel("nas", description=text)])
    assert [line.strip() for line in lines[1:]] == [text[:32], text[32:]]
    assert width(lines[1]) == 80


def test_colour_says_nothing_that_the_words_do_not() -> None:
    import re

    coloured = "\n".join(status(the_four(), colour=True))
    assert "\033[32mup\033[0m" in coloured
    assert "\033[31mneeds you\033[0m" in coloured
    assert re.sub(r"\033\[\d+m", "", coloured) == "\n".join(status(the_four()))


def test_every_forward_has_its_own_line() -> None:
    forwards = [
        forward(connections=visited(1, 1, "2001:db8::7", "2026-11-21T23:59:00Z")),
        forward(address=None, listen_host=None, listen_port=0, spec="0:localhost:22"),
        forward(kind="dynamic", address="localhost:1080", connect_port=None),
    ]
    assert status([tunnel("web", forwards=forwards, _seconds_in_state=5)]) == [
        "web  up         5 s          vps.example.com:12345 → localhost:8080",
        "                             1 visitor now, 1 in all",
        "                             last 2001:db8::7 at 2026-11-21 23:59",
        "                             a port that the server chooses → localhost:8080",
        "                             -D localhost:1080 → SOCKS proxy",
    ]


WRONG = """\
web   up, but    3 h 12 min   vps.example.com:12345 → localhost:8080
                 refused from here: sshd put port 12345 on the server's own
                 loopback: its GatewayPorts is "no" (-g does not change that: it
                 is for -L and -D)
                 do: sshwrap doctor web --fix
half  up, but    3 h 12 min   vps.example.com:12345 → localhost:8080
                 port 12345 is only half ours: visitors by IPv6 alone get
                 through; uid 33 listens on 0.0.0.0; asked for again until it is
                 free
                 do: see who holds it, on the server:
                       sudo ss -ltnp 'sport = :12345'
fire  up, but    3 h 12 min   vps.example.com:12345 → localhost:8080
                 no answer from here in 5 s, though sshd listens on every
                 address: a firewall drops it, the server's own or its
                 provider's
                 do: on the server, where ufw is its firewall:
                       sudo ufw allow 12345/tcp
                     else its provider's firewall ("security group", 安全组)
"""


def not_as_asked() -> list[dict[str, Any]]:
    every, own = ["0.0.0.0", "::"], ["127.0.0.1", "::1"]
    loop = forward(reach="loopback_only", bound=own, from_here="refused")
    half = forward(
        reach="half_bound",
        bound=["::"],
        reach_reason="uid 33 listens on 0.0.0.0",
        from_here="open",
        _from_here_ms=31.2,
    )
    fire = forward(reach="as_asked", bound=every, from_here="timeout", _from_here_ms=5000.4)
    return [
        tunnel("web", forwards=[loop]),
        tunnel("half", forwards=[half]),
        tunnel("fire", forwards=[fire]),
    ]


def test_what_is_not_as_asked_and_the_one_thing_to_do() -> None:
    assert status(not_as_asked()) == WRONG.splitlines()


def test_the_same_advice_is_given_once() -> None:
    (web, _, fire) = (each["forwards"][0] for each in not_as_asked())
    lines = status([tunnel("web", forwards=[web, fire, web])])
    assert [line.strip() for line in lines if "do:" in line] == [
        "do: sshwrap doctor web --fix",
        "do: on the server, where ufw is its firewall:",
    ]
    assert sum("sudo ufw" in line for line in lines) == 1


@pytest.mark.parametrize("columns", [20, 33, 48, 66, 80])
def test_what_is_not_as_asked_fits_and_loses_nothing(columns: int) -> None:
    lines = status(not_as_asked(), columns)
    assert all(width(line) <= columns for line in lines)
    words = "".join("".join(lines).split())
    assert "sshwrapdoctorweb--fix" in words
    assert words.count("do:") == 3


def test_a_failure_s_command_is_not_broken_where_it_fits_a_line() -> None:
    taken = failure("x", "", "see who holds it, on the server: sudo ss -ltnp 'sport = :12345'")
    assert [line[16:] for line in status([tunnel("cam", "waiting", failure=taken)])[-2:]] == [
        "do: see who holds it, on the server:",
        "      sudo ss -ltnp 'sport = :12345'",
    ]
    assert status([tunnel("cam", "waiting", failure=taken)], 120)[-1].endswith(
        "do: see who holds it, on the server: sudo ss -ltnp 'sport = :12345'"
    )


def test_while_a_dead_session_is_ended_no_next_try_is_promised() -> None:
    taken = failure("port 12345 is taken on vps.example.com")
    values: dict[str, Any] = {"failure": taken, "_seconds_to_attempt": 14.0}
    waits = status([tunnel("cam", "waiting", **values)])
    ends = status([tunnel("cam", "waiting", **values, _reclaiming=True)])
    assert " ".join(" ".join(waits[1:]).split()).endswith(
        "taken on vps.example.com; next try in 14 s"
    )
    assert " ".join(" ".join(ends[1:]).split()).endswith(
        "it may be our own dead session: looking, and ending it if it is"
    )


def test_whose_the_taken_port_is_stands_below_that_it_is_taken() -> None:
    taken = failure("port 12345 is taken on vps.example.com")
    held = "port 12345 on the server: a program or a tunnel of uid 33"
    values: dict[str, Any] = {"failure": taken, "_seconds_to_attempt": 1.2, "_holder": held}
    lines = status([tunnel("cam", "waiting", **values)])
    assert [line.strip() for line in lines[1:]] == [
        "port 12345 is taken on vps.example.com; next try in 2 s",
        held,
    ]
    # What is left over of an outage is nothing to say of a tunnel that is up.
    assert held not in "".join(status([tunnel("cam", _holder=held)]))


def test_words_set_in_by_their_author_cannot_leave_the_page() -> None:
    for line in status([tunnel("web", description=" " * 90 + "x")]):
        assert width(line) <= 80


def test_drops_and_an_edited_profile_are_told() -> None:
    lines = status(
        [tunnel("web", drops=2, drops_since="2026-11-22T09:00:00Z", profile_changed=True)]
    )
    assert [line.strip() for line in lines[1:]] == [
        "2 drops since 09:00",
        "edited since: sshwrap reload web takes it over",
    ]


def test_a_tunnel_that_nobody_wants_is_one_line() -> None:
    lines = status([tunnel("web", "down", wanted=False, _seconds_in_state=None)])
    assert lines == ["web  down                    vps.example.com:12345 → localhost:8080"]


def test_a_wanted_tunnel_without_supervisor_says_what_to_do() -> None:
    gone = failure("down since this machine restarted 3 h ago", "", "sshwrap up -d web")
    for known, first in ((gone, gone["summary"]), (None, "wanted, and nobody looks after it")):
        lines = status([tunnel("web", "down", failure=known, _seconds_in_state=None)])
        assert [line.strip() for line in lines[1:]] == [first, "do: sshwrap up -d web"]


def test_a_start_tells_what_went_before() -> None:
    first = tunnel("web", "starting", attempt=1, _seconds_in_state=0.2)
    third = {**first, "attempt": 3, "failure": failure("vps.example.com refused the connection")}
    assert len(status([first])) == 1
    assert status([third])[1].strip() == "try 3; before: vps.example.com refused the connection"


def test_what_a_server_says_cannot_paint_the_screen() -> None:
    evil = failure("\033[2Jgone\nweb  up", "[red]\033]0;title\007", "rm \u202e-rf")
    text = "\n".join(status([tunnel("web", "waiting", failure=evil)], colour=True))
    assert "\033[2J" not in text
    assert "\\033[2Jgone web up" in text
    assert "[red]\\033]0;title\\007" in text
    assert "\u202e" not in text


def test_rows_for_programs() -> None:
    assert status_rows(the_four(), Page()) == [
        "web\tup\t11523\tvps.example.com:12345\tlocalhost:8080\t-",
        "ha\tup, but\t11523\tvps.example.com:8123\tlocalhost:8123\tnothing answers on "
        "localhost:8123 on this machine: the tunnel is fine and serves again as soon as the "
        "program does",
        "cam\twaiting\t40\tvps2.example.net:2201\t192.0.2.30:22\t"
        "vps2.example.net does not answer (timed out)",
        "db\tneeds you\t103\tdb.example.org:5432\tlocalhost:5432\t"
        "db.example.org shows another host key",
    ]


def test_a_row_is_one_line_of_six_cells_whatever_it_holds() -> None:
    evil = tunnel("web", "waiting", failure=failure("a\tb\nc"), _seconds_in_state=None)
    bare = tunnel("bare", "down", forwards=[])
    rows = status_rows([evil, bare], Page())
    assert [row.split("\t") for row in rows] == [
        ["web", "waiting", "-", "vps.example.com:12345", "localhost:8080", "a b c"],
        ["bare", "down", "11523", "-", "-", "-"],
    ]
