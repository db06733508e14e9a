"""The live view on a real pty, through a terminal emulator: what is on the screen, what above."""

from __future__ import annotations

import fcntl
import os
import re
import select
import socket
import struct
import termios
import time
import tty
from collections.abc import Iterator
from typing import Any, TextIO

import pyte
import pytest

from sshwrap.render.terminal import Terminal
from sshwrap.render.view import HELD_LINES, LiveView
from tests.support.screens import NOW, failure, the_four, tunnel

HINT = "Ctrl-C stops these."
STOP, START = b"\x13", b"\x11"
MARK = b"\x00"  # written behind the view's output: terminals ignore it
WITHIN = 20  # seconds; a deadline, never a wait


class Screen:
    """A pty, and an emulator that reads its master."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.master, slave = os.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self.emulator = pyte.HistoryScreen(columns, rows, history=5000, ratio=0.001)
        self.parser = pyte.ByteStream(self.emulator)
        self.received = b""
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, size)
        # pyte drops lines at the top and forgets to move the cursor with the rest.
        gone = max(self.emulator.cursor.y + 1 - rows, 0)
        self.emulator.resize(rows, columns)
        self.emulator.cursor.y -= gone

    def read(self) -> None:
        """Take everything that has been written to the terminal until now."""
        os.write(self.stream.fileno(), MARK)
        while not self.take().endswith(MARK):
            pass

    def take(self) -> bytes:
        """What is there, waiting for something."""
        assert select.select([self.master], [], [], WITHIN)[0], "nothing came"
        data = os.read(self.master, 65536)
        self.received += data.replace(MARK, b"")
        self.parser.feed(data.replace(MARK, b""))
        return data

    def press(self, key: bytes) -> None:
        """Type it, and wait until the kernel has seen what it means for the output."""
        os.write(self.master, key)
        room = select.poll()
        room.register(self.stream.fileno(), select.POLLOUT)
        deadline = time.monotonic() + WITHIN
        while key in (STOP, START) and bool(room.poll(1)) != (key == START):
            assert time.monotonic() < deadline, "the terminal does not react"
        if key not in (STOP, START):
            self.take()  # its echo

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.emulator.display]

    @property
    def story(self) -> list[str]:
        """Everything from the first line on, scrollback included, without the empty end."""
        above = [
            "".join(line[column].data for column in range(self.emulator.columns)).rstrip()
            for line in self.emulator.history.top
        ]
        return "\n".join([*above, *self.rows]).rstrip("\n").split("\n")

    def close(self) -> None:
        self.stream.close()
        os.close(self.master)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.close()


def view_on(screen: Screen, **environ: str) -> LiveView:
    return LiveView(screen.stream, {"TERM": "xterm-256color", **environ}, hint=HINT)


def draw(view: LiveView, screen: Screen, snapshots: list[dict[str, Any]]) -> None:
    """One frame, all of it, on the emulator's screen."""
    view.update(snapshots, NOW)
    while not view.tick():
        screen.take()
    screen.read()


def test_events_stand_above_and_the_view_is_drawn_in_place(screen: Screen) -> None:
    view = view_on(screen)
    for number in range(5):
        view.event(f"10:19:0{number}  ha  event {number}")
        draw(view, screen, the_four())
    story = screen.story
    assert story[:6] == [*(f"10:19:0{number}  ha  event {number}" for number in range(5)), ""]
    assert story[6] == "web  up         3 h 12 min   vps.example.com:12345 → localhost:8080"
    assert story[-1] == HINT
    assert sum(line.startswith("web  up ") for line in story) == 1
    assert sum(HINT in line for line in story) == 1
    view.close()


def test_the_scrollback_keeps_every_event_once_and_no_frame(screen: Screen) -> None:
    view = view_on(screen)
    expected = []
    for number in range(120):
        line = f"event {number:03}" + (
            " and very long words about it" * 4 if number % 9 == 0 else ""
        )
        expected.append(line)
        view.event(line)
        # The frame grows and shrinks all the time.
        draw(view, screen, the_four()[: 1 + number % 4])
    view.close()
    screen.read()
    story = "\n".join(screen.story)
    frames = story.index("\n\nweb  up ")
    # A line that is too long goes on below, indented: the words are what has to be there, once.
    assert story[:frames].split() == " ".join(expected).split()
    assert story.count("web  up ") == 1


def test_the_last_frame_stays_and_the_last_words_stand_below(screen: Screen) -> None:
    view = view_on(screen)
    draw(view, screen, the_four()[:1])
    assert screen.emulator.cursor.hidden
    screen.press(b"\x03")  # the terminal echoes it where the cursor is
    view.close([(("", "web   down after 3 h 12 min"),), (("", "+ 27 more down"),)])
    screen.read()
    assert screen.story[-4:] == [HINT, "^C", "web   down after 3 h 12 min", "+ 27 more down"]
    assert not screen.emulator.cursor.hidden
    assert screen.emulator.cursor.x == 0


def test_the_view_steps_aside_for_a_question(screen: Screen) -> None:
    view = view_on(screen)
    view.event("10:30:51  db  down")
    draw(view, screen, the_four()[:1])
    view.pause()
    view.event("10:30:52  db  asks")
    assert view.tick()
    screen.read()
    assert screen.story == ["10:30:51  db  down"]
    assert not screen.emulator.cursor.hidden
    screen.stream.write("me@db's password: \r\n")
    screen.stream.flush()
    view.resume()
    draw(view, screen, the_four()[:1])
    assert screen.story[:4] == ["10:30:51  db  down", "me@db's password:", "10:30:52  db  asks", ""]
    assert screen.emulator.cursor.hidden
    view.close()


@pytest.mark.parametrize("size", [(132, 40), (80, 30), (80, 8), (60, 24), (30, 10), (20, 5)])
def test_another_size_is_another_frame(screen: Screen, size: tuple[int, int]) -> None:
    columns, rows = size
    view = view_on(screen)
    draw(view, screen, [*the_four(), *(tunnel(f"t{number}") for number in range(26))])
    screen.resize(columns, rows)
    for number in range(3):
        view.event(f"event {number}")
        draw(view, screen, [*the_four(), *(tunnel(f"t{number}") for number in range(26))])
    assert screen.emulator.cursor.y <= rows - 1
    story = screen.story
    assert [line for line in story if line.startswith("event ")] == [
        "event 0",
        "event 1",
        "event 2",
    ]
    assert "10:31:31" in "".join(screen.rows)
    view.close()


def test_a_stopped_terminal_stops_nobody_and_gets_everything_later(screen: Screen) -> None:
    view = view_on(screen)
    draw(view, screen, the_four())
    screen.press(STOP)
    view.event("while it was stopped: 0")
    view.update(the_four(), NOW)
    assert not view.tick()
    for number in range(1, 200):
        view.event(f"while it was stopped: {number}")
        view.update(the_four()[:2], NOW)
        assert not view.tick()
    before = screen.received
    screen.press(START)
    draw(view, screen, the_four()[:1])
    story = screen.story
    assert [line for line in story if line.startswith("while")] == [
        f"while it was stopped: {number}" for number in range(200)
    ]
    assert sum(line.startswith("web  up ") for line in story) == 1
    # 199 updates came to two frames: what was being written when it stopped, and the last.
    assert screen.received[len(before) :].count(HINT.encode()) <= 3
    view.close()


def test_a_terminal_that_nobody_reads_stops_nobody(screen: Screen) -> None:
    view = view_on(screen)
    many = [tunnel(f"t{number:03}") for number in range(40)]
    frames = 0
    while True:
        view.event("x" * 70)
        view.update(many, NOW)
        frames += 1
        if not view.tick():
            break
        assert frames < 1000
    for number in range(HELD_LINES + 60):
        view.event(f"held {number}")
        assert not view.tick()
    draw(view, screen, many)
    draw(view, screen, many)
    story = screen.story
    held = [line for line in story if line.startswith("held")]
    assert held == [f"held {number}" for number in range(60, HELD_LINES + 60)]
    assert any(line.startswith("… ") and "lines more, in: sshwrap logs" in line for line in story)
    assert "\033" not in "".join(story)
    assert sum(HINT in line for line in story) == 1
    view.close()


def test_closing_a_stopped_terminal_does_not_wait_for_it(screen: Screen) -> None:
    view = view_on(screen)
    draw(view, screen, the_four())
    screen.press(STOP)
    view.event("lost with the terminal")
    view.close([(("", "bye"),)])
    screen.press(START)
    screen.read()
    assert "bye" not in "".join(screen.rows)
    assert view.tick()


def test_a_terminal_that_hangs_up_is_no_error() -> None:
    screen = Screen()
    view = view_on(screen)
    draw(view, screen, the_four())
    os.close(screen.master)
    view.event("into the void")
    view.update(the_four(), NOW)
    assert view.tick()
    view.close([(("", "bye"),)])
    screen.stream.close()


def test_what_ssh_says_is_not_obeyed_by_the_terminal(screen: Screen) -> None:
    view = view_on(screen)
    evil = tunnel(
        "web", "waiting", failure=failure("\033[2J\033[Hgone", "\033]0;title\007\033c", "\x9b2J")
    )
    view.event("10:00:00  web  \033[2Jgone\r\nfaked")
    draw(view, screen, [evil])
    assert screen.story[0] == "10:00:00  web  \\033[2Jgone  faked"
    assert any("\\033[2J\\033[Hgone" in line for line in screen.story)
    view.close()


def test_wide_characters_keep_the_layout(screen: Screen) -> None:
    screen.resize(40, 24)
    view = view_on(screen)
    wide = tunnel("nas", description="家里的摄像头经过小服务器" * 3)
    for number in range(4):
        view.event(f"事件 {number}")
        draw(view, screen, [wide])
    story = [line.replace("\x00", "") for line in screen.story]
    assert sum(line.startswith("nas") for line in story) == 1
    assert sum("家里的" in line for line in story) >= 1
    assert len([line for line in story if line[:1] == "事"]) == 4
    view.close()


def test_without_colour_it_is_live_and_plain(screen: Screen) -> None:
    view = view_on(screen, NO_COLOR="1")
    draw(view, screen, the_four())
    assert b"\033[32m" not in screen.received
    assert screen.story[1].startswith("web  up ")
    view.close()


def test_the_shells_own_descriptor_keeps_its_mode(screen: Screen) -> None:
    """O_NONBLOCK would hold for every process that shares the terminal's open file."""
    view = view_on(screen)
    draw(view, screen, the_four())
    assert os.get_blocking(screen.stream.fileno())
    view.close()
    assert os.get_blocking(screen.stream.fileno())


def test_a_terminal_that_cannot_be_opened_again_is_polled() -> None:
    """A socket stands for it: it has no name that could be opened."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        terminal = Terminal(ours.fileno())
        data = bytes(range(256)) * 8192
        rest = terminal.write(data)
        assert 0 < len(rest) < len(data)
        assert terminal.write(rest) == rest
        received = b""
        while len(received) < len(data):
            received += theirs.recv(65536)
            rest = terminal.write(rest)
        assert received == data
        terminal.close()


def test_writes_are_completed_before_anything_else() -> None:
    """A raw terminal, read in tiny pieces: what arrives is whole frames, one after the other."""
    screen = Screen()
    tty.setraw(screen.stream.fileno())
    view = view_on(screen)
    many = [tunnel(f"t{number:03}") for number in range(20)]
    received = b""
    for number in range(300):
        view.event(f"event {number:04}")
        view.update(many, NOW)
        view.tick()
        if number % 3 == 0:
            received += os.read(screen.master, 97)
    while not view.tick():
        received += os.read(screen.master, 4096)
    os.write(screen.stream.fileno(), MARK)
    while not received.endswith(MARK):
        received += os.read(screen.master, 4096)
    received = received.removesuffix(MARK)
    pieces = received.split(b"\r\033[")
    assert all(piece.endswith(f"{HINT}\033[0m\r\n".encode()) for piece in pieces[1:])
    numbers = [int(number) for number in re.findall(rb"event (\d{4})", received)]
    assert numbers == list(range(300))
    view.close()
    screen.close()
