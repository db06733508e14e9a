from __future__ import annotations

from typing import Any

import pytest

from sshwrap.render.frame import frame_lines
from sshwrap.render.layout import width
from sshwrap.render.page import Page
from tests.support.screens import NOW, failure, texts, the_four, tunnel

HINT = "Ctrl-C stops these. In the background: up -d"
THIRTY_AT_24_ROWS = """\

web  up         3 h 12 min   vps.example.com:12345 → localhost:8080
ha   up, but    3 h 12 min   vps.example.com:8123 → localhost:8123
                nothing answers on localhost:8123 on this machine: the tunnel
                is fine and serves again as soon as the program does
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
t00  up         3 h 12 min   vps.example.com:12345 → localhost:8080
t01  up         3 h 12 min   vps.example.com:12345 → localhost:8080
t02  up         3 h 12 min   vps.example.com:12345 → localhost:8080
t03  up         3 h 12 min   vps.example.com:12345 → localhost:8080
+ 22 more, all up

10:31:31   27 up · 1 up, but · 1 waiting · 1 needs you
Ctrl-C stops these. In the background: up -d
"""


def thirty() -> list[dict[str, Any]]:
    return [*the_four(), *(tunnel(f"t{number:02}") for number in range(26))]


def frame(snapshots: list[dict[str, Any]], columns: int, rows: int, hint: str = HINT) -> list[str]:
    page = Page(columns, rows)
    return texts(frame_lines(snapshots, page, NOW, hint), page)


def test_thirty_tunnels_on_24_rows() -> None:
    assert frame(thirty(), 80, 24) == THIRTY_AT_24_ROWS.splitlines()


def test_all_in_full_where_there_is_room() -> None:
    lines = frame(thirty(), 80, 60)
    assert "                             answers from here · 2 visitors now, 41 in all" in lines
    assert not any(line.startswith("+") for line in lines)


def test_what_only_a_person_can_help_comes_first_when_little_fits() -> None:
    assert frame(thirty(), 80, 10) == [
        "ha   up, but    3 h 12 min   vps.example.com:8123 → localhost:8123",
        "cam  waiting    40 s         vps2.example.net:2201 → 192.0.2.30:22",
        "db   needs you  1 min 43 s   db.example.org:5432 → localhost:5432",
        "                db.example.org shows another host key",
        "                do: ask its owner, then ssh-keygen -R db.example.org",
        "+ 27 more, all up",
        "",
        "10:31:31   27 up · 1 up, but · 1 waiting · 1 needs you",
        HINT,
    ]


def test_no_tunnel_yet() -> None:
    assert frame([], 80, 24)[-2:] == ["10:31:31", HINT]


@pytest.mark.parametrize("columns", [1, 9, 20, 40, 61, 80, 132])
def test_a_frame_always_fits(columns: int) -> None:
    wide = tunnel("z" * 64, "waiting", failure=failure("门牌号 " * 40, "x" * 500, "y" * 300))
    for rows in (1, 2, 3, 5, 8, 13, 24, 50, 200):
        lines = frame([*thirty(), wide], columns, rows)
        assert len(lines) <= max(rows - 1, 1)
        assert columns < 20 or all(width(line) < columns for line in lines)


def test_nobody_is_lost() -> None:
    """Every tunnel is either shown or counted, and the order never changes."""
    snapshots = thirty()
    names = [each["profile"] for each in snapshots]
    for rows in range(4, 60):
        lines = frame(snapshots, 80, rows)
        shown = [line[:3].strip() for line in lines if line[:3].strip() in names]
        more = [int(line.split()[1]) for line in lines if line.startswith("+ ")]
        assert shown == [name for name in names if name in shown]
        assert len(shown) + sum(more) == 30


def test_a_thousand_waiting_tunnels_are_counted() -> None:
    many = [tunnel(f"t{number}", "waiting") for number in range(1000)]
    lines = frame(many, 80, 24)
    assert len(lines) == 23
    assert "+ 982 more, all waiting" in lines
    assert "10:31:31   1000 waiting" in lines
