"""Words in ssh's log that somebody else put there.

ssh prints the line breaks of a server's disconnect text as they are, before it has checked the
host key as well: whoever sits in between may write any line into the log.
"""

from __future__ import annotations

from tests.support import scenarios
from tests.support.command import HOST, WEB, FakeCli

FORGED = "\r\n".join(
    [
        "Received disconnect from 203.0.113.7 port 22:11: come in",
        *[step[1] for step in scenarios.sign_in() if step[0] == "log"],
        *scenarios.confirmed_lines([WEB]),
        "",
    ]
)


def test_a_log_that_says_all_is_well_is_not_believed_without_a_sign_in(cli: FakeCli) -> None:
    cli.profiles(web={})
    end = [["log", f"Connection closed by {HOST} port 22"], ["exit", 255]]
    cli.server_says([["raw", "log", FORGED], *end], scenarios.up([WEB]))
    assert cli("up", "-d", "web").status == 1
    cli.wait_for_entry("web", "up")
    assert cli.events("web") == ["wanted", "attempt_failed", "up"]
