"""What OpenSSH 8.4, 9.2 and 10.0 said, and what sshwrap makes of it.

A test walks all recordings: one test a recording would spend more time on the tests' names than on
the recordings.
"""

from __future__ import annotations

import re

from sshwrap.ssh.catalogue import CATALOGUE
from sshwrap.ssh.evidence import Progress, classify_line
from sshwrap.ssh.failure import MAX_SAID, MAX_SENTENCE
from sshwrap.ssh.messages import Where
from sshwrap.ssh.rows import ROWS
from tests.unit.ssh.recorded import (
    CONSTRUCTED,
    VERSIONS,
    coming_up,
    details,
    evidence_of,
    failing,
    judge,
    lines_of,
    recordings,
    understood,
    was_up,
)

# Decided by us, or by an end without words.
WORDLESS = {"start_timeout", "spawn_failed", "line_dead", "ended", "unknown"}
# Told by what led to the end: no line of ssh's names it.
INFERRED = {
    *("passphrase_needed", "second_factor_needed", "closed_during_sign_in"),
    *("privileged_port", "key_may_not_forward"),
}


def test_every_version_is_recorded_alike() -> None:
    scenarios = {
        version: {name.partition("/")[2] for name in recordings() if name.startswith(version)}
        for version in VERSIONS
    }
    assert scenarios["10.0"] - scenarios["8.4"] == {"penalty", "unused-connection"}
    assert scenarios["8.4"] == scenarios["9.2"] - {"unused-connection"}


def test_every_failure_is_recognised() -> None:
    found = {name: judge(name).kind for name in failing()}
    expected = {name: recordings()[name]["expected"] for name in failing()}
    assert found == expected


def test_every_tunnel_comes_up_and_nothing_is_taken_for_a_failure() -> None:
    for name in coming_up():
        kinds = [item.kind for item in evidence_of(name)]
        assert was_up(evidence_of(name)), name
        order = [Progress.CONNECTED, Progress.SIGNING_IN, Progress.SERVICE_ACCEPTED]
        order += [Progress.AUTHENTICATED, Progress.INTERACTIVE]
        if Progress.PROXY_STARTED in kinds:
            order[0] = Progress.PROXY_STARTED
        assert [kind for kind in kinds if kind in order] == order, name
        wrong = [item for item in evidence_of(name) if item.is_failure and not item.from_terminal]
        assert wrong == [], name


def test_a_tunnel_that_never_came_up_is_never_called_up() -> None:
    late = {"ended_by_signal", "dropped", "reset", "keepalive_timeout", "corrupted"}
    early = [name for name in failing() if recordings()[name]["expected"] not in late]
    assert len(early) > 150
    for name in early:
        kinds = {item.kind for item in evidence_of(name)}
        assert Progress.ALL_CONFIRMED not in kinds, name


def test_sentences_say_who_and_are_short() -> None:
    for name in failing():
        failure = judge(name)
        assert failure.disposition is CATALOGUE[failure.kind].disposition
        assert 0 < len(failure.summary) <= MAX_SENTENCE, name
        assert 0 < len(failure.advice) <= MAX_SENTENCE, name
        assert len(failure.said) <= MAX_SAID, name
        assert not re.search(r"(?<!\$)\{\w*\}|  |\(\)|[. ]$", failure.summary), failure.summary
        assert failure.summary[0] == failure.summary[0].lower(), failure.summary
        assert failure.said in {line for _, line in lines_of(name)} | {""}, name


def test_what_was_said_is_there_save_for_a_signal() -> None:
    silent = {name.partition("/")[2] for name in failing() if judge(name).said == ""}
    assert silent <= {"killed", "hung-up"}


def test_a_banner_that_imitates_ssh_changes_nothing() -> None:
    for version in VERSIONS:
        for plain, imitated in (
            ("permission-denied", "permission-denied-banner"),
            ("server-killed", "server-killed-banner"),
            ("jump-denied", "jump-denied-banner"),
        ):
            banner = [stream for stream, _ in lines_of(f"{version}/{imitated}")].count("terminal")
            assert banner > 0
            assert judge(f"{version}/{imitated}") == judge(f"{version}/{plain}")
        imitation = evidence_of(f"{version}/up-banner-imitates")
        assert [item.kind for item in imitation if not item.from_terminal] == [
            item.kind for item in evidence_of(f"{version}/agent-signs")
        ]
        assert not [item for item in imitation if item.from_terminal and not item.is_failure]


def test_a_banner_says_nothing_wherever_it_falls() -> None:
    """The reader may hand over the terminal's lines at any place behind SERVICE_ACCEPTED."""
    for version in VERSIONS:
        banner = [
            understood("terminal", line)
            for stream, line in lines_of(f"{version}/up-banner-imitates")
            if stream == "terminal"
        ]
        lies = tuple(item for item in banner if item is not None)
        assert len(lies) >= 3
        for name in ("port-taken", "forwarding-off", "permission-denied", "closed-during-sign-in"):
            words = evidence_of(f"{version}/{name}")
            accepted = [item.kind for item in words].index(Progress.SERVICE_ACCEPTED)
            for place in range(accepted + 1, len(words) + 1):
                mixed = words[:place] + lies + words[place:]
                assert judge(f"{version}/{name}", mixed) == judge(f"{version}/{name}")


def test_every_plain_line_of_the_log_is_known() -> None:
    """Whatever ssh says without a `debug` in front may be shown to a person."""
    unknown = {
        line
        for name in recordings()
        for stream, line in lines_of(name)
        if stream == "log" and classify_line(line) is None and not line.startswith("debug")
    }
    assert unknown == set()


def test_visitors_carry_where_and_who() -> None:
    for version in VERSIONS:
        (visitor,) = details(f"{version}/up-remote", Progress.VISITOR_OPENED)
        assert visitor["listen_port"] == "8080"
        assert visitor["address"] in ("127.0.0.1", "::1")
        assert int(visitor["port"]) > 1023
        assert details(f"{version}/up-remote-socket", Progress.VISITOR_OPENED) == [
            {"listen_path": "/home/tunnel/web.sock"}
        ]
        (local,) = details(f"{version}/up-local", Progress.VISITOR_OPENED)
        assert local == {"listen_port": "8081"}
        opened = details(f"{version}/up-remote", Progress.CHANNEL_NEW)[-1]
        freed = {item["channel"] for item in details(f"{version}/up-remote", "channel_freed")}
        assert opened["name"] in ("127.0.0.1", "::1")
        assert opened["channel"] in freed
        if version != "8.4":
            assert opened["kind"] == "forwarded-tcpip"
        (connected,) = details(f"{version}/up-remote", Progress.TARGET_CONNECTED)
        assert connected == {"channel": opened["channel"], "host": "localhost"}


def test_targets_that_refuse_are_named() -> None:
    for version in VERSIONS:
        (refused,) = details(f"{version}/up-target-refused", Progress.TARGET_REFUSED)
        assert refused == {"host": "localhost", "port": "9001"}
        (unknown,) = details(f"{version}/up-target-unknown", Progress.TARGET_REFUSED)
        assert unknown["host"] == "nowhere.example.com"
        (missing,) = details(f"{version}/up-target-socket-missing", Progress.TARGET_REFUSED)
        assert missing["path"] == "/home/you/state/no.sock"
        (there,) = details(f"{version}/up-local-target-refused", Progress.TARGET_REFUSED)
        assert there["reason"].startswith("connect failed")


def test_forwards_are_confirmed_by_name() -> None:
    expected = {
        "up-remote": [("8080", "localhost:9000")],
        "up-remote-all": [("*:8080", "localhost:9000")],
        "up-port-0": [("0", "localhost:9000")],
        "up-remote-socket": [("/home/tunnel/web.sock:-2", "localhost:9000")],
        "up-remote-socks": [("1080", "socks:0")],
        "up-several": [("8080", "localhost:9000"), ("0", "localhost:9000")],
    }
    for version in VERSIONS:
        for scenario, forwards in expected.items():
            confirmed = details(f"{version}/{scenario}", Progress.FORWARD_CONFIRMED)
            assert [(item["listen"], item["connect"]) for item in confirmed] == forwards
        (count,) = details(f"{version}/up-several", Progress.EXPECTING)
        assert count == {"count": "2"}
        assert details(f"{version}/up-local", Progress.EXPECTING) == []
        (allocated,) = details(f"{version}/up-port-0", Progress.PORT_ALLOCATED)
        assert int(allocated.pop("port")) > 1023
        assert allocated == {"connect_host": "localhost", "connect_port": "9000"}
        (to_socket,) = details(f"{version}/up-port-0-socket", Progress.PORT_ALLOCATED)
        assert int(to_socket.pop("port")) > 1023
        assert to_socket in ({}, {"connect_path": "/home/you/state/web.sock"})
        (widened,) = details(f"{version}/up-gateway-ports", Progress.OVERRIDDEN)
        assert widened == {"listen_host": "localhost"}


def test_key_options_are_read() -> None:
    for version in VERSIONS:
        restricted = details(f"{version}/up-restricted-key", Progress.KEY_OPTIONS)[0]
        assert restricted["options"].split() == ["permitlisten", "port-forwarding"]
        free = details(f"{version}/up-remote", Progress.KEY_OPTIONS)[0]["options"].split()
        assert "port-forwarding" in free
        assert "command" not in free


def test_constructed_lines() -> None:
    found = [
        (evidence.kind if (evidence := understood(stream, line)) else None, line)
        for _, stream, line, _ in CONSTRUCTED
    ]
    assert found == [(kind, line) for kind, _, line, _ in CONSTRUCTED]
    assert all(source for *_, source in CONSTRUCTED)


def test_every_row_is_hit() -> None:
    said = {line for name in recordings() for line in lines_of(name)}
    said |= {(stream, line) for _, stream, line, _ in CONSTRUCTED}
    left = [(row, re.compile(row.pattern)) for row in ROWS]
    for stream, line in said:
        evidence = understood(stream, line)
        if evidence is None:
            continue
        for row, pattern in left:
            reads = row.where in (Where.BOTH, Where(stream))
            if reads and row.kind == evidence.kind and pattern.fullmatch(line):
                left.remove((row, pattern))
                break
    assert [row.format for row, _ in left] == []


def test_every_kind_has_words_or_none_by_nature() -> None:
    with_rows = {row.kind for row in ROWS if row.is_failure}
    assert with_rows <= set(CATALOGUE)
    assert set(CATALOGUE) - with_rows == WORDLESS | INFERRED
    recorded = {recordings()[name]["expected"] for name in failing()}
    constructed = {kind for kind, *_ in CONSTRUCTED}
    assert set(CATALOGUE) - recorded - constructed == WORDLESS


def test_recordings_name_nothing_of_where_they_were_made() -> None:
    allowed = r"/(?:home/(?:you|tunnel)|rec|etc/ssh|dev/stdout|opt|bin|nowhere|usr/lib/systemd)\b"
    for name, recording in recordings().items():
        words = [*recording["argv"], *(line for _, line in lines_of(name))]
        for word in words:
            for path in re.findall(r"(?<![\w.@\]}>*[-])/[a-z]+[\w./-]*", word):
                assert re.match(allowed, path), (name, word)
