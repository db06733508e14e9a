"""Who came, who is there, and whether the target answers."""

from __future__ import annotations

import pytest

from sshwrap.profile.forward import Forward, Kind, parse_forward
from sshwrap.tunnel.model import ForwardState
from sshwrap.tunnel.traffic import PENDING_KEPT, TargetChange, Traffic
from tests.unit.tunnel.things import ANY, LOCAL, WEB, evidence

CAME = (
    "debug1: client_request_forwarded_tcpip: listen * port 12345, "
    "originator 198.51.100.23 port 59888"
)
CHANNEL = "debug1: channel {}: new forwarded-tcpip [198.51.100.23] (inactive timeout: 0)"
CONNECTED = "debug1: channel {}: connected to localhost port 8080"
FREED = "debug1: channel {}: free: 198.51.100.23, nchannels 1"
REFUSED = "connect_to localhost port 8080: failed."


def heard(traffic: Traffic, *lines: str, forward: Forward = WEB) -> list[TargetChange]:
    forwards = [ForwardState(forward, confirmed=True, allocated_port=None)]
    found = [traffic.hear(each, forwards, 1_700_000_000.0) for each in evidence(*lines)]
    return [change for change in found if change is not None]


def test_a_visitor_comes_and_goes() -> None:
    traffic = Traffic(1)
    heard(traffic, CAME, CHANNEL.format(0), CONNECTED.format(0))
    row = traffic.rows[0]
    assert (row.open, row.total, row.last_address) == (1, 1, "198.51.100.23")
    assert row.target == "ok"
    heard(traffic, FREED.format(0))
    assert (row.open, row.total) == (0, 1)


def test_several_at_once() -> None:
    traffic = Traffic(1)
    for channel in range(5):
        heard(traffic, CAME, CHANNEL.format(channel))
    heard(traffic, FREED.format(3), FREED.format(0))
    assert (traffic.rows[0].open, traffic.rows[0].total) == (3, 5)


def test_channels_that_are_nobodys_visit_are_not_counted() -> None:
    traffic = Traffic(1)
    heard(traffic, "debug1: channel 0: new mux-control [mux-control] (inactive timeout: 0)")
    heard(traffic, "debug1: channel 0: free: mux-control, nchannels 1")
    assert (traffic.rows[0].open, traffic.rows[0].total) == (0, 0)


def test_that_the_target_refuses_is_news_once_and_that_it_answers_again_too() -> None:
    traffic = Traffic(1)
    changes = heard(traffic, CAME, CHANNEL.format(0), REFUSED, CAME, CHANNEL.format(1), REFUSED)
    assert [(change.target, change.said) for change in changes] == [("refused", REFUSED)]
    changes = heard(traffic, CAME, CHANNEL.format(2), CONNECTED.format(2))
    assert [change.target for change in changes] == ["ok"]


@pytest.mark.parametrize("spec", ["1080", "12345:/run/web.sock"])
def test_what_the_server_could_not_reach_is_no_target_of_a_remote_forward(spec: str) -> None:
    """Said of -L, -D and -W, without a host: not what a SOCKS listener or a path is waiting for."""
    forward = parse_forward(Kind.REMOTE, spec, environ={}, service_port=lambda _: None)
    traffic = Traffic(1)
    said = "channel 2: open failed: connect failed: Connection refused"
    assert heard(traffic, said, forward=forward) == []
    assert traffic.rows[0].target == "unknown"


def test_a_target_that_answers_from_the_start_is_no_news() -> None:
    assert heard(Traffic(1), CAME, CHANNEL.format(0), CONNECTED.format(0)) == []


def test_a_new_ssh_has_no_visitors_and_the_total_stays() -> None:
    traffic = Traffic(1)
    heard(traffic, CAME, CHANNEL.format(0), CONNECTED.format(0))
    traffic.reset(1)
    row = traffic.rows[0]
    assert (row.open, row.total, row.target) == (0, 1, "unknown")
    heard(traffic, FREED.format(0))
    assert row.open == 0


def test_visitors_without_a_channel_do_not_pile_up() -> None:
    traffic = Traffic(1)
    for _ in range(PENDING_KEPT * 3):
        heard(traffic, CAME)
    assert traffic.rows[0].total == PENDING_KEPT * 3
    heard(traffic, CHANNEL.format(0))
    assert traffic.rows[0].open == 1


def test_an_allocated_port_is_known_by_its_number() -> None:
    traffic = Traffic(1)
    came = CAME.replace("port 12345", "port 40001").replace("listen *", "listen localhost")
    forwards = [ForwardState(ANY, confirmed=True, allocated_port=40001)]
    for each in evidence(came):
        traffic.hear(each, forwards, 1.0)
    assert traffic.rows[0].total == 1


def test_a_visitor_of_an_unknown_listener_is_nobodys() -> None:
    traffic = Traffic(1)
    heard(traffic, CAME.replace("12345", "1"))
    assert traffic.rows[0].total == 0


def local_visit(channel: int, address: str) -> tuple[list[str], str]:
    """What ssh says when somebody comes to port 9000 here, and when they have gone."""
    came = [
        "debug1: Connection to port 9000 forwarding to localhost port 80 requested.",
        f"debug1: channel {channel}: new direct-tcpip [direct-tcpip] (inactive timeout: 0)",
    ]
    gone = (
        f"debug1: channel {channel}: free: direct-tcpip: listening port 9000 for localhost port 80,"
        f" connect from {address} port 44692 to 127.0.0.1 port 9000, nchannels 1"
    )
    return came, gone


def test_visitors_of_a_local_forward_are_named_when_they_go() -> None:
    traffic = Traffic(1)
    row = traffic.rows[0]
    (first_came, first_gone), (second_came, second_gone) = (
        local_visit(2, "127.0.0.7"),
        local_visit(3, "127.0.0.8"),
    )
    heard(traffic, *first_came, *second_came, forward=LOCAL)
    assert (row.open, row.total, row.last_address) == (2, 2, None)
    heard(traffic, second_gone, forward=LOCAL)
    assert (row.open, row.last_address) == (1, "127.0.0.8")
    heard(traffic, first_gone, forward=LOCAL)  # who came before is not the latest
    assert (row.open, row.last_address) == (0, "127.0.0.8")


def test_what_a_visitor_asks_for_is_no_address_of_theirs() -> None:
    traffic = Traffic(1)
    came, gone = local_visit(2, "127.0.0.7")
    forged = gone.replace("for localhost", "for x port 1, connect from 6.6.6.6 port 1 to localhost")
    heard(traffic, *came, forged, forward=LOCAL)
    assert traffic.rows[0].last_address == "127.0.0.7"


def test_a_clock_set_back_does_not_hide_who_came_last() -> None:
    traffic = Traffic(1)
    forwards = [ForwardState(WEB, confirmed=True)]
    for wall, line in ((2_000.0, CAME), (1_000.0, CAME.replace("198.51.100.23", "192.0.2.1"))):
        for each in evidence(line):
            traffic.hear(each, forwards, wall)
    row = traffic.rows[0]
    assert (row.last_address, row.last_wall) == ("192.0.2.1", 1_000.0)


# --- other forwards on the same ssh ---------------------------------------------------------------


def test_what_is_counted_goes_where_its_forward_stands() -> None:
    traffic = Traffic(2)
    states = [ForwardState(LOCAL), ForwardState(WEB, confirmed=True)]
    for each in evidence(CAME, CHANNEL.format(4), CONNECTED.format(4)):
        traffic.hear(each, states, 1.0)
    traffic.rearrange([1, None])
    (web, new) = traffic.rows
    assert (web.open, web.total, web.target, web.last_address) == (1, 1, "ok", "198.51.100.23")
    assert (new.open, new.total, new.target) == (0, 0, "unknown")
    heard(traffic, FREED.format(4))
    assert (web.open, web.total) == (0, 1)


def test_who_came_by_a_forward_that_was_taken_back_is_counted_no_more() -> None:
    traffic = Traffic(2)
    states = [ForwardState(WEB, confirmed=True), ForwardState(LOCAL)]
    for each in evidence(CAME, CHANNEL.format(4), CAME):  # the second one has no channel yet
        traffic.hear(each, states, 1.0)
    traffic.rearrange([1])
    (row,) = traffic.rows
    for line in (CHANNEL.format(5), CONNECTED.format(4), FREED.format(4), FREED.format(5)):
        heard(traffic, line, forward=LOCAL)
        assert (row.open, row.total, row.target) == (0, 0, "unknown")
    came, gone = local_visit(6, "127.0.0.7")
    heard(traffic, *came, forward=LOCAL)
    assert (row.open, row.total) == (1, 1)
    heard(traffic, gone, forward=LOCAL)
    assert row.open == 0
