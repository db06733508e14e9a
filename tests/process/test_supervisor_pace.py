"""Many tunnels to one server: few at a time before the sign-in, and none while it throttles us."""

from __future__ import annotations

import time
from pathlib import Path

from sshwrap.supervisor.turns import SIGNING_IN_PER_SERVER
from sshwrap.tunnel.backoff import THROTTLED_LEAST
from tests.support import scenarios
from tests.support.command import THROTTLED, WEB, FakeCli

OTHER = "other.example.com"
MANY = 30


def test_thirty_tunnels_never_more_than_four_before_the_sign_in(
    cli: FakeCli, tmp_path: Path
) -> None:
    """Each start is held before its sign-in, and each that is let on makes room for one more."""
    gates = [tmp_path / f"gate-{number}" for number in range(MANY)]
    sign_in, signed_in = scenarios.sign_in()[:-1], scenarios.sign_in()[-1]
    rest = [signed_in, *scenarios.up([WEB])[len(sign_in) + 1 :]]
    cli.server_says(*([*sign_in, ["wait_for", str(gate)], *rest] for gate in gates))
    cli.server_says(scenarios.up([WEB]), host=OTHER)
    names = [f"many-{number:02}" for number in range(MANY)]
    last = {"destination": f"root@{OTHER}"}
    cli.profiles(**{name: {} for name in names}, last=last)
    front = cli.front("up")
    # It was asked for last: whoever came before it has had the chance to start.
    cli.wait_for_entry("last", "up")
    cli.wait_for_starts(SIGNING_IN_PER_SERVER)
    for number, gate in enumerate(gates):
        assert cli.starts() == min(MANY, number + SIGNING_IN_PER_SERVER)
        gate.touch()
        cli.wait_for_starts(min(MANY, number + 1 + SIGNING_IN_PER_SERVER))
    for name in names:
        cli.wait_for_entry(name, "up")
    assert cli.starts() == MANY
    tunnels = cli.ask(cli.front_socket(front.pid), op="status")["tunnels"]
    assert {tunnel["state"] for tunnel in tunnels} == {"up"}


def test_one_that_is_throttled_holds_the_whole_server_and_no_other(cli: FakeCli) -> None:
    cli.profiles(one={}, two={}, else_where={"destination": f"root@{OTHER}"})
    cli.server_says(THROTTLED, scenarios.up([WEB]))
    cli.server_says(scenarios.up([WEB]), host=OTHER)
    began = time.monotonic()
    assert cli("up", "-d", "one").status == 1
    entry = cli.journal("one", "attempt_failed")[0]
    assert entry["failure"]["kind"] == "throttled"
    assert entry["retry_in"] >= THROTTLED_LEAST
    done = cli("up", "-d", "two", "else_where", "--timeout", "0.5")
    assert done.status == 1
    assert "two: no verdict within 0.5 s" in done.err
    two = cli.asked("two")
    assert two["state"] == "waiting"
    passed = time.monotonic() - began
    assert THROTTLED_LEAST - passed <= two["_seconds_to_attempt"] <= THROTTLED_LEAST * 1.25
    assert two["next_attempt_at"] is not None
    assert cli.asked("else_where")["state"] == "up"
    assert cli.starts() == 1
    # A person who insists gets no further: it would only make it longer.
    cli.ask(op="poke", names=["one"])
    passed = time.monotonic() - began
    assert cli.asked("one")["_seconds_to_attempt"] >= THROTTLED_LEAST - passed - 1
    assert cli.starts() == 1


def test_a_server_that_does_not_answer_holds_up_nobody_else(cli: FakeCli, tmp_path: Path) -> None:
    silent = [*scenarios.sign_in()[:2], ["wait_for", str(tmp_path / "never")]]
    cli.server_says(silent)
    cli.server_says(scenarios.up([WEB]), host=OTHER)
    names = [f"silent-{number}" for number in range(2 * SIGNING_IN_PER_SERVER)]
    cli.profiles(**{name: {} for name in names}, web={"destination": f"root@{OTHER}"})
    assert cli("up", "-d", *names, "--timeout", "0").status == 1
    assert cli.up("web")["state"] == "up"
    assert cli.starts() == SIGNING_IN_PER_SERVER
