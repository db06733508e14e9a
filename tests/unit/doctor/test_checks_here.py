"""Each check of this machine fails where it has to, and passes where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sshwrap.doctor.facts import Answer, Facts, Identity, Known, Target, Unknown
from sshwrap.doctor.findings import Verdict
from sshwrap.profile.forward import Kind
from sshwrap.ssh.version import Version
from tests.unit.doctor.samples import (
    KEY,
    PUBLIC,
    WEB,
    asked,
    connected,
    failed,
    find,
    forward,
    having,
    judge,
    sound,
    trial,
    verdict,
)

MINE = Identity("~/.ssh/id_ed25519", False, True, True, 0o600, True, False, KEY)
NAMED = replace(MINE, path="~/.ssh/tunnel", from_profile=True)
LOCKED = replace(MINE, is_encrypted=True)


def keys(*identities: Identity, agent: tuple[str, ...] | None = None, **more: Any) -> Facts:
    held = Unknown("no agent runs") if agent is None else Known(agent)
    return having(sound(), here={"identities": Known(identities), "agent": held}, **more)


def denied(facts: Facts) -> Facts:
    assert isinstance(facts.account.sign_in, Known)
    found = replace(facts.account.sign_in.value, failure=failed("permission_denied"))
    return having(facts, account={"sign_in": Known(found)})


def test_an_old_ssh_is_named_with_what_it_needs() -> None:
    old = having(sound(), here={"ssh": Known(Version(8, 0, "OpenSSH_8.0p1"))})
    found = judge(old, asked(), "ssh-version")
    assert found.verdict is Verdict.FAIL
    assert found.seen == "OpenSSH 8.0 is older than 8.4"
    assert "SSHWRAP_SSH=" in found.advice
    assert judge(sound(), asked(), "ssh-version").fold == "OpenSSH 9.2"
    none = having(sound(), here={"ssh": Unknown('no "ssh" on PATH')})
    found = judge(none, asked(), "ssh-version")
    assert (found.verdict, found.seen) == (Verdict.FAIL, 'no usable ssh: no "ssh" on PATH')
    assert "SSHWRAP_SSH=" in found.advice
    assert judge(Facts(), asked(), "ssh-version").verdict is Verdict.UNKNOWN


def config(added: tuple[Any, ...] = (), **values: str) -> Facts:
    facts = sound()
    assert isinstance(facts.here.config, Known)
    made = replace(
        facts.here.config.value,
        values={keyword: (value,) for keyword, value in values.items()},
        forwards=added,
    )
    return having(facts, here={"config": Known(made)})


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        (config(controlmaster="auto", controlpath="~/.ssh/cm"), "control socket of its own"),
        (config(localcommand="notify-send up", permitlocalcommand="yes"), "LocalCommand"),
        (config(clearallforwardings="yes"), "ClearAllForwardings is overridden"),
        (config(gatewayports="yes"), "for -R the server decides"),
        (config((forward("9000:localhost:80", source="ssh_config"),)), "adds -R 9000"),
    ],
)
def test_what_surprises_and_does_no_harm_is_a_note(facts: Facts, note: str) -> None:
    found = judge(facts, asked(), "ssh-config")
    assert found.verdict is Verdict.OK
    assert note in found.seen
    assert found.fold == ""


def test_a_localcommand_that_ssh_would_not_run_is_no_surprise() -> None:
    facts = config(localcommand="notify-send up", permitlocalcommand="no")
    assert judge(facts, asked(), "ssh-config").seen == "nothing in it gets into the way"


def test_the_profiles_port_a_second_time_in_ssh_config_ends_the_tunnel() -> None:
    added = forward("12345:localhost:80", source="~/.ssh/config")
    found = judge(config((added,)), asked(WEB, added), "ssh-config")
    assert found.verdict is Verdict.FAIL
    assert "the same port" in found.seen
    assert "~/.ssh/config" in found.advice


def test_a_forward_of_ssh_config_that_is_refused_could_end_the_tunnel() -> None:
    added = forward("9000:localhost:80", source="~/.ssh/config")
    facts = having(config((added,)), live={"tried": Known((trial(added, None, spare=False),))})
    assert verdict(facts, asked(WEB, added), "ssh-config") is Verdict.WARN
    only = asked(added)  # it is the only one: meant, and for other checks to judge
    assert verdict(facts, only, "ssh-config") is Verdict.OK


@pytest.mark.parametrize(
    ("identity", "seen", "advice"),
    [
        (replace(NAMED, exists=False), "is not there", "ssh-keygen -t ed25519 -f ~/.ssh/tunnel"),
        (replace(NAMED, is_readable=False), "cannot be read", "ls -l ~/.ssh/tunnel"),
        (replace(NAMED, mode=0o644), "(mode 0644)", "chmod 600 ~/.ssh/tunnel"),
        (replace(NAMED, is_encrypted=True), "has a passphrase", "ssh-add ~/.ssh/tunnel"),
    ],
)
def test_a_key_that_cannot_be_used_fails_where_nobody_gets_in(
    identity: Identity, seen: str, advice: str
) -> None:
    found = judge(denied(keys(identity)), asked(), "identity-file")
    assert found.verdict is Verdict.FAIL
    assert seen in found.seen
    assert f"    {advice}" in found.advice.split("\n")
    # where it gets in all the same (another method, typed by hand) it is no failure now
    assert verdict(keys(identity), asked(), "identity-file") is Verdict.WARN


@pytest.mark.parametrize(
    "facts",
    [
        keys(MINE),
        keys(LOCKED, agent=(KEY,)),
        keys(replace(MINE, path="~/.ssh/id_rsa", mode=0o644, fingerprint=None), MINE),
        keys(replace(NAMED, mode=0o644, is_ours=False)),
        keys(replace(NAMED, exists=False), agent=(KEY,)),
        keys(agent=("SHA256:other",)),
        keys(),
    ],
)
def test_a_key_that_can_be_used_is_enough(facts: Facts) -> None:
    assert verdict(facts, asked(), "identity-file") is Verdict.OK


def test_without_any_key_nobody_comes_back_alone() -> None:
    found = judge(denied(keys()), asked(), "identity-file")
    assert found.verdict is Verdict.WARN
    assert "    ssh-copy-id root@vps.example.com" in found.advice.split("\n")


def test_the_agent_matters_where_a_key_is_locked() -> None:
    assert find(keys(MINE), asked(), "agent") is None
    assert judge(keys(LOCKED, agent=(KEY,)), asked(), "agent").fold == "the agent holds the key"
    found = judge(keys(LOCKED, agent=()), asked(), "agent")
    assert found.verdict is Verdict.WARN
    assert "ssh-add ~/.ssh/id_ed25519" in found.advice
    assert verdict(keys(LOCKED), asked(), "agent") is Verdict.UNKNOWN
    assert verdict(keys(LOCKED, MINE, agent=()), asked(), "agent") is Verdict.OK


def targets(one: Any, answer: Answer) -> Facts:
    found = (Target(one, connected(answer, 5.0)),)
    return having(sound(one), here={"targets": Known(found)})


AWAY = forward("2201:192.0.2.30:22")


@pytest.mark.parametrize(
    ("one", "answer", "seen", "advice"),
    [
        (WEB, Answer.REFUSED, "localhost:8080 refuses: nothing", "ss -ltnp 'sport = :8080'"),
        (AWAY, Answer.TIMEOUT, "192.0.2.30:22 does not answer in 5 s", "nc -vz 192.0.2.30 22"),
        (AWAY, Answer.NO_ROUTE, "cannot be reached", "nc -vz"),
        (AWAY, Answer.UNRESOLVED, "a name without an address", "nc -vz"),
        (forward("80:/run/a.sock"), Answer.REFUSED, "/run/a.sock refuses", "ls -l /run/a.sock"),
    ],
)
def test_a_target_that_does_not_answer_is_what_visitors_find(
    one: Any, answer: Answer, seen: str, advice: str
) -> None:
    found = judge(targets(one, answer), asked(one), "target")
    assert found.verdict is Verdict.FAIL
    assert seen in found.seen
    assert advice in found.advice


def test_a_target_on_another_host_that_answers_is_well() -> None:
    assert judge(targets(AWAY, Answer.OPEN), asked(AWAY), "target").fold == "192.0.2.30:22 answers"


def test_socks_and_local_forwards_have_no_target_here() -> None:
    local = forward("9000:localhost:80", Kind.LOCAL)
    assert find(sound(), asked(local), "target") is None
    assert find(sound(), asked(forward("1080")), "target") is None
    assert verdict(sound(PUBLIC), asked(PUBLIC), "target") is Verdict.OK
