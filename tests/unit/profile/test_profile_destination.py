"""Destinations and jumps: what ssh takes, and what a shell could take for something else."""

from __future__ import annotations

import pytest

from sshwrap.profile.destination import (
    Destination,
    DestinationError,
    check_jumps,
    parse_destination,
)


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("vps", Destination("vps")),
        ("root@vps.example.com", Destination("vps.example.com", "root")),
        ("DOM\\me@h", Destination("h", "DOM\\me")),
        ("a@b@h", Destination("h", "a@b")),
        ("::1", Destination("::1")),
        ("u@fe80::1%eth0", Destination("fe80::1%eth0", "u")),
        ("ssh://h", Destination("h")),
        ("ssh://u@h:2222", Destination("h", "u", 2222)),
        ("ssh://u%40d@h:22/", Destination("h", "u@d", 22)),
        ("ssh://u;x=y@h", Destination("h", "u")),
        ("ssh://h_1.x-y", Destination("h_1.x-y")),
    ],
)
def test_destinations(text: str, destination: Destination) -> None:
    assert parse_destination(text) == destination


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-p", 'begins with "-"'),
        ("u@-h", 'begins with "-"'),
        ("-u@h", 'begins with "-"'),
        ("$(id)@h", 'holds "$"'),
        ("a b", "holds a space"),
        ("h;id", 'holds ";"'),
        ("`id`", 'holds "`"'),
        ("u:secret@h", "ssh takes no password here"),
        ("vps:2222", 'write destination = "vps" and port = 2222'),
        ("[::1]", 'write destination = "::1"'),
        ("ssh://u@[::1]:22", "takes a name or an IPv4 address alone"),
        ("ssh://a+b@h", "holds a space"),
        ("SSH://h", "is no destination of ssh"),
        ("ssh://h:", 'has no port after the ":"'),
        ("u@[::1]:2222", 'write destination = "u@::1" and port = 2222'),
        ("@h", 'no user before the "@"'),
        ("u@", "host is empty"),
        ("ssh://u@h:0", 'port "0" is not 1-65535'),
        ("ssh://h/path", "has a path"),
        ("ssh://-h", 'begins with "-"'),
        ("ssh://%2Dx@h", 'begins with "-"'),
        ("ssh://::1", "stands in brackets"),
        ("http://h", "is no destination of ssh"),
        ("h\x07", "h\\x07"),
    ],
)
def test_no_destinations(text: str, message: str) -> None:
    with pytest.raises(DestinationError) as caught:
        parse_destination(text)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["none", "a", "u@a:22", "a,b@c,[::1]:22,ssh://d:22"])
def test_jumps(text: str) -> None:
    check_jumps(text)


@pytest.mark.parametrize("text", ["", "a,", "a, b", "a b", "$(id)", "u@-a", "a:0", "ssh://[::1]"])
def test_no_jumps(text: str) -> None:
    with pytest.raises(DestinationError):
        check_jumps(text)
