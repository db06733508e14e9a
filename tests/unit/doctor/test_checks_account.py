"""Each check of the account fails where it has to, and passes where nothing is wrong."""

from __future__ import annotations

import pytest

from sshwrap.doctor.facts import (
    Answer,
    Facts,
    HostKey,
    HostKeyState,
    Known,
    Rights,
    SignIn,
    Unknown,
)
from sshwrap.doctor.findings import Verdict
from sshwrap.profile.forward import Forward
from sshwrap.ssh.failure import Failure
from tests.unit.doctor.samples import (
    ALL_OPTIONS,
    NO_SESSION,
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

DISABLED = "Server has disabled port forwarding."
REFUSED = "port forwarding refused"


def signing_in(failure: Failure | None, method: str = "publickey", **more: bool) -> Facts:
    return having(sound(), account={"sign_in": Known(SignIn(failure, method, **more))})


def test_a_failed_sign_in_says_what_ssh_says() -> None:
    said = "root@vps.example.com: Permission denied (publickey)."
    found = judge(signing_in(failed("permission_denied", said)), asked(), "sign-in")
    assert found.verdict is Verdict.FAIL
    assert found.seen == "vps.example.com does not let root sign in"
    assert found.why == f"ssh: {said}"
    assert "ssh-copy-id root@vps.example.com" in found.advice


def test_a_key_that_may_forward_signs_in() -> None:
    assert judge(sound(), asked(), "sign-in").fold == "root signs in with a key that may forward"
    over = signing_in(None, over_tunnel=True)
    assert "over the running tunnel" in judge(over, asked(), "sign-in").seen


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_what_a_person_typed_cannot_be_repeated(method: str) -> None:
    found = judge(signing_in(None, method), asked(), "sign-in")
    assert found.verdict is Verdict.WARN
    assert "sshwrap cannot repeat that alone" in found.seen


def test_one_cause_is_told_once() -> None:
    unknown_key = signing_in(failed("host_key_unknown"))
    assert verdict(unknown_key, asked(), "sign-in") is Verdict.FAIL
    key = Known(HostKey(HostKeyState.UNKNOWN))
    told = having(unknown_key, way={"host_key": key})
    assert verdict(told, asked(), "sign-in") is Verdict.UNKNOWN
    away = signing_in(failed("timed_out"))
    assert verdict(away, asked(), "sign-in") is Verdict.FAIL
    told = having(away, way={"tcp": Known(connected(Answer.TIMEOUT))})
    assert verdict(told, asked(), "sign-in") is Verdict.UNKNOWN
    told = having(away, way={"addresses": Known(())})
    assert verdict(told, asked(), "sign-in") is Verdict.UNKNOWN
    nobody = {"addresses": Unknown("no answer"), "tcp": Known(connected(Answer.UNRESOLVED))}
    untold = having(signing_in(failed("name_not_resolved")), way=nobody)
    assert verdict(untold, asked(), "sign-in") is Verdict.FAIL
    jump = having(told, way={"jump": "bastion"})
    assert verdict(jump, asked(), "sign-in") is Verdict.FAIL


def test_no_session_is_not_wrong_and_says_what_is_not_seen_then() -> None:
    found = judge(having(sound(), account={"shell": NO_SESSION}), asked(), "shell")
    assert found.verdict is Verdict.UNKNOWN
    assert found.seen == "unknown, because the account has no shell"
    assert "The tunnel needs no session" in found.why
    assert "Debian GNU/Linux 12" in judge(sound(), asked(), "shell").seen


def with_key(
    options: tuple[str, ...], *said: str, own: Forward = WEB, accepted: bool = False
) -> Facts:
    trials = [trial(own, None, spare=False, said=words) for words in said]
    trials += [trial(own, spare=False)] if accepted else []
    return having(
        sound(own), account={"key_options": Known(options)}, live={"tried": Known(tuple(trials))}
    )


@pytest.mark.parametrize(
    "facts", [with_key(("pty", "user-rc")), with_key((), DISABLED), with_key(("pty",), DISABLED)]
)
def test_a_key_that_may_not_forward(facts: Facts) -> None:
    found = judge(facts, asked(), "key-options")
    assert found.verdict is Verdict.FAIL
    assert "restrict,port-forwarding" in found.advice


@pytest.mark.parametrize(
    "facts",
    [
        with_key(ALL_OPTIONS),
        with_key(ALL_OPTIONS, DISABLED),  # then it is the server's configuration
        with_key(()),
        with_key(("pty",), accepted=True),  # what was seen goes before the list
        with_key(("port-forwarding", "permitlisten"), accepted=True),
        with_key(("port-forwarding", "command")),
    ],
)
def test_a_key_that_may_forward(facts: Facts) -> None:
    assert verdict(facts, asked(), "key-options") is Verdict.OK


@pytest.mark.parametrize(
    ("one", "asks", "spelling"),
    [
        (WEB, '"localhost:12345"', 'asks for "localhost", not for 127.0.0.1'),
        (PUBLIC, '"*:12345"', 'which "localhost:PORT" does not permit'),
        (forward("127.0.0.1:12345:localhost:80"), '"127.0.0.1:12345"', 'asks for "127.0.0.1"'),
    ],
)
def test_a_permitlisten_that_does_not_match_is_told_with_the_spelling(
    one: Forward, asks: str, spelling: str
) -> None:
    facts = with_key(("port-forwarding", "permitlisten"), REFUSED, own=one)
    found = judge(facts, asked(one), "key-options")
    assert found.verdict is Verdict.FAIL
    assert asks in found.seen
    assert spelling in found.why
    assert 'permitlisten="12345"' in found.advice


def test_which_ports_a_key_may_open_is_not_known_before_it_was_tried() -> None:
    facts = with_key(("port-forwarding", "permitlisten"))
    assert verdict(facts, asked(), "key-options") is Verdict.UNKNOWN


def test_a_profile_without_forwards_asks_nothing_of_the_key() -> None:
    facts = having(sound(), account={"key_options": Unknown("no")})
    assert verdict(facts, asked(), "key-options") is Verdict.UNKNOWN
    assert find(facts, asked(), "permit-listen") is not None


@pytest.mark.parametrize("rights", list(Rights))
def test_what_the_account_may_do_never_fails(rights: Rights) -> None:
    facts = having(sound(), account={"rights": Known(rights)})
    assert verdict(facts, asked(), "root") is Verdict.OK
    assert verdict(having(sound(), account={"rights": Unknown("x")}), asked(), "root") is (
        Verdict.UNKNOWN
    )
