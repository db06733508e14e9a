"""A plain `ssh -N -R` from the home, without anybody who keeps it."""

from __future__ import annotations

import pytest

from tests.netlab.clocks import missing_for_suspend
from tests.netlab.hosts import Program
from tests.netlab.lab import SERVER4, Lab

PORT = 12345
CONFIRMED = "remote forward success"
# An ssh that notices a dead line in 1 x (3 + 1) seconds; a sign-in may be silent for 1 x 3.
ALERT = ("-oServerAliveInterval=1", "-oServerAliveCountMax=3")


def start_tunnel(
    lab: Lab, *options: str, host: str = "vps4.example.com", account: str = "root"
) -> Program:
    """`ssh -R '*:PORT:localhost:8080'`, begun."""
    words = ("ssh", "-N", "-v", "-oExitOnForwardFailure=yes", "-oBatchMode=yes", *options)
    forward = f"*:{PORT}:localhost:8080"
    return lab.home.popen(*words, "-R", forward, f"tunnel@{host}", account=account)


def tunnel(
    lab: Lab, *options: str, host: str = "vps4.example.com", account: str = "root"
) -> Program:
    """The same, confirmed by the server."""
    program = start_tunnel(lab, *options, host=host, account=account)
    program.wait_for_words(CONFIRMED)
    return program


def page(lab: Lab, *, address: str = SERVER4, within: float = 10.0) -> str:
    """What a visitor sees at the tunnel's port; OSError where that is no page."""
    return lab.visitor.fetch((address, PORT), within=within).decode()


def meets(lab: Lab, *, address: str = SERVER4, within: float = 1.0) -> str:
    """ "page", or the name of the error that a visitor meets."""
    try:
        page(lab, address=address, within=within)
    except OSError as error:
        return type(error).__name__
    return "page"


def seen_from(lab: Lab, host: str = "vps4.example.com") -> str:
    """The address that the server sees the home come from."""
    words = ("ssh", "-oBatchMode=yes", f"tunnel@{host}", "echo $SSH_CONNECTION")
    return lab.home.run(*words).stdout.split()[0]


def needs_suspend() -> None:
    if (reason := missing_for_suspend()) is not None:
        pytest.skip(reason)
