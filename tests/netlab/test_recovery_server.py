"""A server that says "not now", or ends a line that carries nobody: said, and waited for."""

from __future__ import annotations

import pytest

from sshwrap.tunnel.backoff import THROTTLED_LEAST
from tests.netlab.home_cli import HomeCli, served
from tests.netlab.lab import SERVER4, Lab

STRANGER = f"exec 3<>/dev/tcp/{SERVER4}/22; read -r -u 3 words; echo $words; read -r -u 3 more"


def test_a_full_server_is_left_alone_and_then_used(lab: Lab, cli: HomeCli) -> None:
    """sshd's MaxStartups: one stranger who says nothing is all that it takes on."""
    lab.server.restart_sshd(MaxStartups="1:100:1")
    cli.profiles(web={})
    with lab.home.popen("bash", "-c", STRANGER) as stranger:
        stranger.wait_for_words("SSH-2.0")
        done = cli("up", "-d", "web", "--timeout", "3")
        assert done.status == 1, done
        tunnel = cli.wait_until("web", lambda tunnel: tunnel["failure"] is not None)
        assert tunnel["failure"]["kind"] == "throttled", tunnel
        (tried,) = [entry for entry in cli.journal("web") if entry.get("failure")]
        assert tried["retry_in"] >= THROTTLED_LEAST, "nobody hammers on a full server"
    done = cli("restart", "web")  # a person need not wait
    assert done.status == 0, done
    served(lab)


@pytest.mark.slow
def test_a_full_server_is_tried_again_by_itself(lab: Lab, cli: HomeCli) -> None:
    lab.server.restart_sshd(MaxStartups="1:100:1")
    cli.profiles(web={}, second={"remote_forward": "*:12346:localhost:8080"})
    with lab.home.popen("bash", "-c", STRANGER) as stranger:
        stranger.wait_for_words("SSH-2.0")
        cli("up", "-d", "--timeout", "3")
        cli.wait_until("web", lambda tunnel: tunnel["failure"] is not None)
    served(lab)
    served(lab, port=12346)
    for name in ("web", "second"):
        kinds = [entry["failure"]["kind"] for entry in cli.journal(name) if entry.get("failure")]
        assert len(kinds) <= 1, "later they come one after the other: two at once are too many here"


def test_a_server_that_ends_idle_lines_is_said_to_do_so(lab: Lab, cli: HomeCli) -> None:
    """UnusedConnectionTimeout (9.2): listeners are no channels, so a tunnel nobody visits ends."""
    if lab.server.version() < (9, 2):
        pytest.skip("UnusedConnectionTimeout came with OpenSSH 9.2")
    lab.server.restart_sshd(UnusedConnectionTimeout=2)
    cli.profiles(web={})
    cli.up("web")
    tunnel = cli.wait_until("web", lambda tunnel: tunnel["drops"] >= 2)
    kinds = {(entry.get("failure") or {}).get("kind") for entry in cli.journal("web", "down")}
    assert kinds <= {"dropped", "reset"}, tunnel  # a visitor's bytes under way make it a reset
    lab.server.restart_sshd(UnusedConnectionTimeout=0)
    cli.wait_until("web", "up")
    served(lab)
