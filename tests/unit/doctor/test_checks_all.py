"""The list of checks as a whole: what is sound draws no warning, and nothing unknown raises."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshwrap.doctor.checks import CHECKS, Asked, run_checks
from sshwrap.doctor.facts import Account, Facts, Here, Known, Live, Port, Server, Unknown, Way
from sshwrap.doctor.findings import Section, Verdict
from sshwrap.doctor.verdict import exit_status, summarize
from sshwrap.profile.forward import Kind
from tests.unit.doctor.samples import (
    PENALTIES,
    PUBLIC,
    SOCKET,
    WEB,
    asked,
    destination,
    forward,
    having,
    setting,
    sound,
    unprivileged,
)

LOW = forward("*:443:localhost:22")
ONE = forward("203.0.113.7:12345:localhost:8080")
SOCKS = forward("1080")
LOCAL = forward("9000:localhost:80", Kind.LOCAL)
ANY = forward("0:localhost:80")

ASKED = (
    *(asked(one) for one in (WEB, PUBLIC, SOCKET, LOW, ONE, SOCKS, LOCAL, ANY)),
    asked(WEB, SOCKET, LOCAL),
    asked(as_public=True),
    destination(),
    destination(as_public=True),
)


def test_ids_are_kebab_case_and_there_once() -> None:
    ids = [check.id for check in CHECKS]
    assert len(ids) == len(set(ids))
    assert [one for one in ids if not re.fullmatch(r"[a-z]+(-[a-z]+)*", one)] == []


def test_the_sections_follow_each_other() -> None:
    order = list(dict.fromkeys(check.section for check in CHECKS))
    assert order == list(Section)
    places = [order.index(check.section) for check in CHECKS]
    assert places == sorted(places)


@pytest.mark.parametrize("one", [WEB, forward("localhost:12345:localhost:8080"), ANY])
@pytest.mark.parametrize("penalties", [None, PENALTIES])
def test_a_sound_default_server_draws_no_warning(one: Any, penalties: str | None) -> None:
    facts = setting(sound(one), persourcepenalties=penalties)
    for each in (facts, unprivileged(facts), having(facts, here={"profiles_at_server": 8})):
        findings = run_checks(each, asked(one))
        assert [found for found in findings if found.verdict in (Verdict.WARN, Verdict.FAIL)] == []
        assert exit_status(findings) == 0


def _fields(part: type) -> list[str]:
    """Those fields of a part that hold a fact."""
    return [one.name for one in dataclasses.fields(part) if "Fact" in str(one.type)]


@st.composite
def partly_known(draw: st.DrawFn) -> tuple[Facts, Asked]:
    """What a server may be, with any part of it unknown."""
    what = draw(st.sampled_from(ASKED))
    gateway = draw(st.sampled_from(["no", "yes", "clientspecified"]))
    facts = sound(*what.forwards, gateway=gateway)
    reason = draw(st.text(max_size=20))
    for name, part in (
        ("here", Here),
        ("way", Way),
        ("account", Account),
        ("server", Server),
        ("live", Live),
    ):
        hidden = draw(st.sets(st.sampled_from(_fields(part))))
        facts = having(facts, **{name: {field: Unknown(reason, "said") for field in hidden}})
    if draw(st.booleans()):
        facts = having(facts, live={"state": "up"})
    if draw(st.booleans()):
        facts = having(facts, ports=draw(st.sampled_from([(), tuple(map(Port, what.remote))])))
    if draw(st.booleans()):
        facts = having(facts, server={"effective": Known({})})
    if draw(st.booleans()):
        facts = having(facts, way={"jump": "bastion"})
    if draw(st.booleans()):
        facts = having(facts, way={"by_tunnel": True})
    return facts, what


@given(partly_known())
def test_nothing_unknown_raises_and_what_is_not_ok_is_explained(made: tuple[Facts, Asked]) -> None:
    facts, what = made
    findings = run_checks(facts, what)
    order = [check.id for check in CHECKS]
    assert [one.id for one in findings] == sorted((one.id for one in findings), key=order.index)
    for one in findings:
        assert one.seen
        if one.verdict in (Verdict.WARN, Verdict.FAIL):
            assert one.why, one.id
            assert one.advice, one.id
            assert one.fold, one.id
        assert one.cause in ("", *order)
    told = {one.id: one.verdict for one in findings}
    causes = {one.cause for one in findings if one.cause}
    assert all(told.get(cause) in (Verdict.FAIL, Verdict.WARN) for cause in causes), causes
    summary = summarize(findings, facts, what)
    assert summary.text
    assert "\n" not in summary.text + summary.next


def test_where_nothing_is_known_nothing_is_promised() -> None:
    findings = run_checks(Facts(), asked(PUBLIC))
    assert {one.verdict for one in findings} == {Verdict.UNKNOWN}
    assert {one.seen.partition(",")[0] for one in findings} == {"unknown"}
    text = summarize(findings, Facts(), asked(PUBLIC)).text
    assert "could not be made" in text
