from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.failure_docs import DOCUMENT, document
from sshwrap.ssh.catalogue import CATALOGUE, Disposition
from sshwrap.ssh.evidence import (
    Evidence,
    classify_line,
    classify_terminal_line,
    keep_words,
)
from sshwrap.ssh.failure import MAX_SAID, MAX_SENTENCE, Failure, failure, judge_exit
from sshwrap.ssh.sentences import split_destination
from tests.unit.ssh.recorded import evidence_of, recordings

DESTINATION = "tunnel@vps.example.com"
CONNECTING = "debug1: Connecting to vps.example.com [192.0.2.7] port 2222."
PROXY = (
    "debug1: Executing proxy command: "
    "exec ssh -l tunnel -p 2230 -v -W '[vps.example.com]:2222' jump.example.com"
)
SIGNING_IN = "debug1: Authenticating to vps.example.com:2222 as 'tunnel'"
ACCEPTED = "debug1: SSH2_MSG_SERVICE_ACCEPT received"
LEFT = "debug1: Authentications that can continue: publickey,password"
KNOWN = "debug1: Server accepts key: /home/you/.ssh/key ED25519 SHA256:abc explicit"
DENIED = "tunnel@vps.example.com: Permission denied (publickey,password)."
SIGNED_IN = 'Authenticated to vps.example.com ([192.0.2.7]:2222) using "publickey".'
INTERACTIVE = "debug1: Entering interactive session."
CONFIRMED = "debug1: forwarding_success: all expected forwarding replies received"
START = (CONNECTING, SIGNING_IN, ACCEPTED)
UP = (*START, SIGNED_IN, INTERACTIVE, CONFIRMED)


def words(*lines: str) -> list[Evidence]:
    """Evidence of these lines; one that begins with "> " came over the terminal."""
    found = []
    for line in lines:
        text = line.removeprefix("> ")
        terminal = text != line
        evidence = classify_terminal_line(text) if terminal else classify_line(text)
        evidence = evidence or keep_words(text, from_terminal=terminal)
        if evidence is not None:
            found.append(evidence)
    return found


def judge(*lines: str, status: int | None = 255, signal: int | None = None) -> Failure:
    return judge_exit(
        words(*lines),
        exit_status=None if signal is not None else status,
        signal=signal,
        was_up=CONFIRMED in lines,
        destination=DESTINATION,
        profile="web",
    )


REFUSED_PORT = "debug1: Remote: port forwarding refused"
CLOSED = "Connection closed by 192.0.2.7 port 2222"
GONE = "Connection closed by UNKNOWN port 65535"
BAD_KEY = 'Load key "/k": bad permissions'
NO_KEY = "> Warning: Identity file /k not accessible: No such file or directory."
UNSIGNED = 'sign_and_send_pubkey: signing failed for RSA "card" from agent: agent refused operation'
OLD_KEY = "debug1: send_pubkey_test: no mutual signature algorithm"
PARTLY = 'Authenticated using "publickey" with partial success.'
BOOTING = "> System is booting up. Please come back later."
TOO_MANY = "Received disconnect from 192.0.2.7 port 2222:2: Too many authentication failures"
FULL = "debug1: kex_exchange_identification: banner line 0: Exceeded MaxStartups"

TELLING = [
    # what was said before the sign-in explains no end after it
    ("keepalive_timeout", (BAD_KEY, *UP, "Timeout, server x not responding.")),
    ("dropped", (*UP, "> Connection to vps.example.com closed by remote host.")),
    # the reason stands on the terminal, a tail of it in the log
    ("reset", (*UP, "client_loop: send disconnect: Broken pipe", "> Read from remote host x: y")),
    # an answer to a request over the control socket ends nothing
    ("dropped", (*UP, REFUSED_PORT, "> Connection to x closed by remote host.")),
    ("port_not_permitted", (*START, SIGNED_IN, INTERACTIVE, REFUSED_PORT)),
    ("ended_by_signal", (*UP, "Killed by signal 1.")),
    # a key that the server knows and nothing was signed with
    ("passphrase_needed", (*START, LEFT, KNOWN, DENIED)),
    # … and one that was signed with, and refused
    ("permission_denied", (*START, LEFT, KNOWN, LEFT, DENIED)),
    ("agent_refused", (*START, KNOWN, UNSIGNED, DENIED)),
    ("key_unreadable", (BAD_KEY, *START, LEFT, DENIED)),
    ("key_missing", (NO_KEY, *START, LEFT, DENIED)),
    ("key_type_refused", (*START, OLD_KEY, LEFT, DENIED)),
    ("second_factor_needed", (*START, PARTLY, LEFT, DENIED)),
    # a hint alone is better than nothing
    ("key_unreadable", (BAD_KEY,)),
    # the jump host: its last words, not its banner
    (
        "permission_denied",
        (
            PROXY,
            "> ssh: connect to host vps.example.com port 22: Connection refused",
            "> tunnel@jump.example.com: Permission denied (publickey).",
            GONE,
        ),
    ),
    ("proxy_failed", (PROXY, GONE)),
    ("proxy_failed", (PROXY, "kex_exchange_identification: Connection closed by remote host")),
    ("throttled", (PROXY, FULL, GONE)),
    # where ssh was by then tells more than the line
    ("closed_before_sign_in", (CONNECTING, CLOSED)),
    ("closed_during_sign_in", (*START, CLOSED)),
    ("server_booting", (*START, BOOTING, CLOSED)),
    ("permission_denied", (*START, BOOTING, DENIED)),
    ("server_disconnected", (*UP, "Received disconnect from 192.0.2.7 port 2222:11: bye")),
    ("too_many_keys", (*START, TOO_MANY, "Disconnected from 192.0.2.7 port 2222")),
    ("unknown", (CONNECTING, "something that no row knows")),
    ("unknown", ("> something before ssh began",)),
    ("ended", (*START, "> something that may be the banner")),
    ("ended", ()),
]


@pytest.mark.parametrize(("kind", "lines"), TELLING)
def test_the_telling_words_win(kind: str, lines: tuple[str, ...]) -> None:
    assert judge(*lines).kind == kind


def test_an_end_without_words_is_told_by_how_it_ended() -> None:
    assert judge(*UP, status=255) == failure(
        "ended", destination=DESTINATION, profile="web", status="255"
    )
    assert "exit status 255" in judge(status=255).summary
    killed = judge(*UP, signal=9)
    assert (killed.kind, killed.summary) == ("ended_by_signal", "ssh was ended by signal 9")
    # ssh -N exits 0 for TERM alone
    assert judge(*UP, status=0).summary == "ssh was ended by signal 15"
    assert judge(CONNECTING, status=0).kind == "ended"
    # a reason that ssh gave is no less true where it was then killed
    assert judge(CONNECTING, DENIED, signal=9).kind == "permission_denied"


def test_the_end_of_a_long_run_needs_no_beginning() -> None:
    """Only the last words of a tunnel are kept."""
    for line, kind in (
        ("Timeout, server vps not responding.", "keepalive_timeout"),
        ("> Connection to vps closed by remote host.", "dropped"),
        ("Connection closed by 192.0.2.7 port 22", "dropped"),
        ("Connection reset by 192.0.2.7 port 22", "reset"),
        ("Connection closed by UNKNOWN port 65535", "dropped"),
        ("Connection to 192.0.2.7 port 22 timed out", "keepalive_timeout"),
    ):
        told = judge_exit(
            words(line),
            exit_status=255,
            signal=None,
            was_up=True,
            destination=DESTINATION,
            profile="web",
        )
        assert told.kind == kind


def test_unknown_words_are_shown_as_they_came() -> None:
    told = judge(CONNECTING, "first", "Frobnication failed: {host} %s [bold]x[/bold]")
    assert told.kind == "unknown"
    assert told.said == "Frobnication failed: {host} %s [bold]x[/bold]"
    assert judge(PROXY, "> the gate is shut", GONE).said == ("the gate is shut")


@pytest.mark.parametrize("user", ["root", "tunnel"])
@pytest.mark.parametrize("port", ["80", "1023", "1024"])
def test_a_low_port_needs_root(user: str, port: str) -> None:
    told = judge(
        f"debug1: Authenticating to vps.example.com:22 as '{user}'",
        SIGNED_IN,
        f"debug1: remote forward failure for: listen {port}, connect localhost:1",
        f"Error: remote port forwarding failed for listen port {port}",
    )
    low = user != "root" and int(port) < 1024
    assert told.kind == ("privileged_port" if low else "port_taken")
    assert told.disposition is Disposition.PORT
    assert f"port {port}" in told.summary


def test_what_holds_a_port_is_said_as_far_as_it_is_known() -> None:
    def taken(listen: str) -> str:
        line = f"debug1: remote forward failure for: listen {listen}, connect localhost:1"
        return judge(*START, SIGNED_IN, line).summary

    assert taken("8080") == "port 8080 is taken on vps.example.com"
    assert taken("*:8080") == taken("8080") == taken("localhost:8080") == taken("0.0.0.0:8080")
    assert taken("192.0.2.9:8080").endswith(", or 192.0.2.9 is not an address of it")
    assert taken("0") == "no free port is left on vps.example.com"


def test_advice_leads_to_the_jump_host_where_it_is_the_cause() -> None:
    new = judge(PROXY, "> Host key verification failed.", GONE)
    assert new.summary.startswith("jump.example.com is new here")
    assert new.advice.startswith("ssh -p 2230 tunnel@jump.example.com ")
    denied = judge(PROXY, "> me@other.example.com: Permission denied (publickey).", GONE)
    assert denied.summary == "other.example.com does not let me sign in"
    assert denied.advice.endswith(": ssh-copy-id me@other.example.com")


@pytest.mark.parametrize("destination", ["vps", "ssh://me@[2001:db8::1]:2200", "tunnel@vps"])
def test_every_kind_makes_sentences_without_details(destination: str) -> None:
    for kind, entry in CATALOGUE.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind)
        told = failure(kind, destination=destination, profile="web")
        assert (told.disposition, told.said) == (entry.disposition, "")
        for sentence in (told.summary, told.advice):
            assert not re.search(r"\{\w*\}|\(\)|[:. ]$|^$|(?<! )  (?! )", sentence), sentence


def test_a_kind_that_is_not_published_is_a_bug() -> None:
    with pytest.raises(KeyError):
        failure("no_such_kind", destination="vps", profile="web")


def test_no_advice_names_a_verb_that_is_not_there() -> None:
    verbs = {
        verb for entry in CATALOGUE.values() for verb in re.findall(r"sshwrap (\w+)", entry.advice)
    }
    assert verbs == {"logs", "show", "check"}


@settings(max_examples=30)
@given(
    kind=st.sampled_from(sorted(CATALOGUE)),
    said=st.text(max_size=600),
    detail=st.dictionaries(
        st.sampled_from(["host", "port", "reason", "path", "listen_port", "offer", "what", "text"]),
        st.text(max_size=300),
    ),
)
def test_a_servers_text_is_bounded_and_clean(kind: str, said: str, detail: dict[str, str]) -> None:
    told = failure(kind, destination=DESTINATION, profile="web", said=said, **detail)
    assert len(told.summary) <= MAX_SENTENCE
    assert len(told.advice) <= MAX_SENTENCE
    assert len(told.said) <= MAX_SAID
    for text in (told.summary, told.advice, told.said):
        assert all(letter.isprintable() or letter.isspace() for letter in text)
        assert not set(text) & {"\n", "\r", "\x1b"}


def test_what_can_be_pasted_is_one_word_for_the_shell() -> None:
    nasty = "/home/you/my keys/$(reboot)';id"
    advice = failure("passphrase_needed", destination="vps", profile="web", path=nasty).advice
    assert shlex.split(advice) == ["ssh-add", nasty]
    advice = failure(
        "socket_path_taken", destination="vps", profile="web", listen_path=nasty
    ).advice
    command = shlex.split(advice.partition("    (")[0])
    assert command[:2] == ["ssh", "vps"]
    assert shlex.split(command[2]) == ["rm", nasty]
    offer = 'x" }; rm -rf ~, y'
    advice = failure(
        "no_common_algorithm", destination="vps", profile="web", what="cipher", offer=offer
    ).advice
    assert '{ Ciphers = "+xrm-rf" }' in advice


@settings(max_examples=30)
@given(st.data())
def test_no_order_of_words_breaks_the_judge(data: st.DataObject) -> None:
    """Cut anywhere and shuffled streams: always a published kind, never an exception."""
    name = data.draw(st.sampled_from(sorted(recordings())))
    evidence = list(evidence_of(name))
    begin = data.draw(st.integers(0, len(evidence)))
    end = data.draw(st.integers(begin, len(evidence)))
    told = judge_exit(
        data.draw(st.permutations(evidence[begin:end])),
        exit_status=data.draw(st.sampled_from([0, 1, 255])),
        signal=None,
        was_up=data.draw(st.booleans()),
        destination=DESTINATION,
        profile="web",
    )
    assert told.kind in CATALOGUE


@pytest.mark.parametrize(
    ("destination", "parts"),
    [
        ("vps", ("", "vps", "")),
        ("me@vps.example.com", ("me", "vps.example.com", "")),
        ("me@corp@vps", ("me@corp", "vps", "")),
        ("ssh://vps", ("", "vps", "")),
        ("ssh://me@vps:2222/", ("me", "vps", "2222")),
        ("ssh://[2001:db8::1]:22", ("", "2001:db8::1", "22")),
        ("ssh://[2001:db8::1]", ("", "2001:db8::1", "")),
        ("2001:db8::1", ("", "2001:db8::1", "")),
    ],
)
def test_split_destination(destination: str, parts: tuple[str, str, str]) -> None:
    assert split_destination(destination) == parts


def test_document_is_made_from_the_catalogue() -> None:
    assert DOCUMENT.read_text() == document(), "run: python scripts/failure_docs.py"
