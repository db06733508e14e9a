"""Rows of /proc/net/tcp and answers of sock_diag, read as bytes and text."""

from __future__ import annotations

import socket
import struct
import sys

import pytest

from sshwrap.supervisor.unacked import (
    Row,
    Unacked,
    pack_request,
    parse_row,
    unpack_answer,
    unpack_seen,
)
from sshwrap.tunnel.doubt import Seen

little = pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little-endian machine")

# 192.0.2.2:50462 -> 203.0.113.7:22, 1,340 bytes unacknowledged, sent again three times.
LOST = (
    "   1: 020200C0:C51E 077100CB:0016 01 0000053C:00000000 01:00000115 00000003"
    "  1000        0 30914 4 000000002eff92f8 30 4 30 10 -1\n"
)
LISTENING = (
    "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000"
    "     0        0 1599 1 0000000094c2b867 100 0 0 10 0\n"
)
OVER_IPV6 = (
    "   0: B80D0120000000000000000002000000:ABCD B80D0120000000000000000001000000:0016 01"
    " 00000000:00000000 02:000AFC71 00000000  1000        0 777 2 0000000012345678 20 4 0 10 -1\n"
)
HEADING = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"
)


@little
def test_a_row_is_read() -> None:
    assert parse_row(LOST) == Row(
        local=(socket.inet_aton("192.0.2.2"), 50462),
        remote=(socket.inet_aton("203.0.113.7"), 22),
        inode=30914,
        unacked=Unacked(1340, 3, 1),
        is_connected=True,
    )


@little
def test_a_row_of_ipv6_is_read() -> None:
    row = parse_row(OVER_IPV6)
    assert row is not None
    assert row.local == (socket.inet_pton(socket.AF_INET6, "2001:db8::2"), 0xABCD)
    assert row.remote == (socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 22)
    assert row.unacked == Unacked(0, 0, 2)


def test_a_listener_is_no_connection() -> None:
    row = parse_row(LISTENING)
    assert row is not None
    assert not row.is_connected


@pytest.mark.parametrize("line", ["", "\n", HEADING, LOST[:90], LOST.replace("0000053C", "words")])
def test_what_is_no_row_is_none(line: str) -> None:
    assert parse_row(line) is None


def answer(*, state: int = 1, inode: int = 30914) -> bytes:
    head = struct.pack("=BBBB48x", socket.AF_INET, state, 1, 3)
    return head + struct.pack("=IIIII", 277, 0, 1340, 1000, inode)


def test_an_answer_of_the_kernel_is_read() -> None:
    assert unpack_answer(answer(), 30914) == Unacked(1340, 3, 1)


def test_another_socket_in_its_place_is_not_taken_for_it() -> None:
    assert unpack_answer(answer(inode=30915), 30914) is None
    assert unpack_answer(answer(state=6), 30914) is None  # TIME_WAIT
    assert unpack_answer(answer()[:-1], 30914) is None


@little
def test_a_question_names_both_ends_and_any_interface() -> None:
    row = parse_row(LOST)
    assert row is not None
    asked = pack_request(socket.AF_INET, row)
    assert len(asked) == 56
    assert asked[:2] == bytes([socket.AF_INET, socket.IPPROTO_TCP])
    assert asked[8:12] == struct.pack("!HH", 50462, 22)
    assert asked[12:28] == socket.inet_aton("192.0.2.2") + bytes(12)
    assert asked[28:44] == socket.inet_aton("203.0.113.7") + bytes(12)
    assert asked[44:] == struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)


# Of an ssh whose keepalive has been sent again three times by the timer, and once before that:
# answer of Linux 6.18 with struct tcp_info, cut after tcpi_data_segs_out.
def told(*, timer: int = 1, retransmits: int = 3, backoff: int = 3, bytes_: int = 160) -> bytes:
    head = struct.pack("=BBBB48x", socket.AF_INET, 1, timer, retransmits)
    head += struct.pack("=IIIII", 1660, 0, 52, 1000, 30914)
    numbers = [0] * 24
    numbers[0], numbers[11], numbers[12] = 1_664_000, 4728, 4712
    numbers[15], numbers[23] = 6899, 4
    info = struct.pack("=8B24I", 1, 4, retransmits, 0, backoff, 7, 170, 1, *numbers)
    info += bytes(32) + struct.pack("=6I", 30, 29, 0, 90, 20, 21)
    info = info[:bytes_]
    attribute = struct.pack("=HH", 4 + len(info), 2) + info
    return head + struct.pack("=HHB3x", 5, 8, 0) + attribute


def test_all_that_the_kernel_knows_of_a_connection_is_read() -> None:
    assert unpack_seen(told(), 30914) == Seen(
        unacked=52,
        retransmits=3,
        due=1.66,
        timeout=1.664,
        heard=4.712,
        data=4.728,
        sent=21,
        resent=4,
        round_trip=0.006899,
    )


def test_an_older_kernel_tells_less_and_one_that_tells_nothing_is_not_believed() -> None:
    older = unpack_seen(told(bytes_=104), 30914)
    assert older is not None
    assert (older.sent, older.resent) == (0, 4)
    assert unpack_seen(told(bytes_=100), 30914) is None
    assert unpack_seen(answer(), 30914) is None
    assert unpack_seen(told(), 30915) is None


def test_what_could_not_be_sent_again_and_probes_of_a_window_do_not_count() -> None:
    no_route = unpack_seen(told(retransmits=60, backoff=1), 30914)
    assert no_route is not None
    assert no_route.retransmits == 1
    full = unpack_seen(told(timer=4), 30914)
    assert full is not None
    assert (full.retransmits, full.due) == (0, 0.0)


def test_a_question_for_more_says_so() -> None:
    row = parse_row(LOST)
    assert row is not None
    plain, more = pack_request(socket.AF_INET, row), pack_request(socket.AF_INET, row, 2)
    assert (plain[2], more[2]) == (0, 2)
    assert plain[3:] == more[3:]
