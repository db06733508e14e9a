"""doctor's screens as they are to look, its JSON, and the text for strangers."""

from __future__ import annotations

import json

import pytest

from sshwrap.doctor.checks import Asked, run_checks
from sshwrap.doctor.facts import ClientConfig, Facts, Known
from sshwrap.doctor.redact import names_of
from sshwrap.doctor.verdict import summarize
from sshwrap.render.doctor import doctor_json, doctor_lines, report_text
from sshwrap.render.layout import width
from sshwrap.render.page import Page, paint
from tests.unit.doctor.samples import (
    EVERYWHERE,
    PUBLIC,
    asked,
    forward,
    having,
    placed,
    sound,
    trial,
    unprivileged,
)

CLOUD = having(
    sound(PUBLIC),
    server={
        "origins": Known(
            placed("GatewayPorts", "no", "/etc/ssh/sshd_config.d/50-cloud-init.conf", 3)
        )
    },
)


def screen(facts: Facts, what: Asked, cells: int = 80, *, verbose: bool = False) -> list[str]:
    page = Page(cells)
    findings = run_checks(facts, what)
    summary = summarize(findings, facts, what)
    lines = doctor_lines(findings, summary, facts, what, page, verbose=verbose)
    return [paint(line, page) for line in lines]


def test_the_screen_of_the_case_that_everybody_meets() -> None:
    assert "\n".join(screen(CLOUD, asked(PUBLIC, port=2222))) == (
        """\
web: root@vps.example.com -p 2222, *:12345 → localhost:8080

  ok    here      OpenSSH 9.2; localhost:8080 answers
  ok    path      203.0.113.7, OpenSSH 9.2, host key known, 31 ms
  ok    account   root signs in with a key that may forward
  FAIL  server    GatewayPorts is "no"
  ok    port      12345 is free
  FAIL  live      a test port answers on the server and is refused from here

gateway-ports
  seen  asked for every address; sshd listens on 127.0.0.1 and ::1, and still
        reports success
        It comes from
          /etc/ssh/sshd_config.d/50-cloud-init.conf:3   GatewayPorts no
  why   Only programs on the server itself can connect. -g does not help: it is
        for -L and -D. For -R the server decides.
  do    sshwrap doctor web --fix    shows the change, asks, proves it
        by hand: docs/doctor.md#gateway-ports

web works on the server only. One change makes it reachable:
  sshwrap doctor web --fix

5 s, one sign-in. Nothing was written; two test ports were open for a second."""
    )


def test_what_is_well_is_one_line_a_section() -> None:
    shown = screen(sound(), asked())
    assert [row[:6].strip() for row in shown[2:8]] == ["ok"] * 6
    assert "seen" not in "\n".join(shown)


def test_unknowns_are_a_count_where_a_real_forward_works() -> None:
    text = "\n".join(screen(unprivileged(sound()), asked()))
    assert "not visible to this account; none is needed here" in text
    assert "--admin root@vps.example.com" in text
    nothing = "\n".join(screen(Facts(), asked()))
    assert "not seen, because it was not asked: ssh-version, ssh-config" in nothing


def test_verbose_lists_every_check() -> None:
    text = "\n".join(screen(CLOUD, asked(PUBLIC), verbose=True))
    for one in run_checks(CLOUD, asked(PUBLIC)):
        assert f"{one.id}: " in text


@pytest.mark.parametrize("cells", [20, 40, 60, 80, 120])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_wider_than_the_page(cells: int, verbose: bool) -> None:
    for facts, what in ((CLOUD, asked(PUBLIC)), (sound(), asked()), (Facts(), asked(PUBLIC))):
        wide = [row for row in screen(facts, what, cells, verbose=verbose) if width(row) > cells]
        assert wide == []


def test_what_a_server_says_cannot_move_the_cursor() -> None:
    evil = having(sound(), way={"banner": Known("\033[2Jhello")})
    assert "\033" not in "\n".join(screen(evil, asked()))


def test_the_json_is_the_published_shape() -> None:
    findings = run_checks(CLOUD, asked(PUBLIC))
    made = doctor_json(findings, summarize(findings, CLOUD, asked(PUBLIC)), asked(PUBLIC))
    assert list(made) == [
        *("schema_version", "profile", "destination", "findings", "summary", "next")
    ]
    assert (made["schema_version"], made["profile"]) == (1, "web")
    keys = ["id", "section", "title", "verdict", "seen", "why", "advice"]
    assert all(list(one) == keys for one in made["findings"])
    assert made["next"] == "sshwrap doctor web --fix"
    assert json.loads(json.dumps(made)) == made


def test_the_report_names_nobody() -> None:
    config = ClientConfig("vps.example.com", "erin", 22, {"identityfile": ("/home/frank/.ssh/k",)})
    wide = forward("*:0:localhost:9")
    tried = Known((trial(wide, EVERYWHERE),))
    facts = having(CLOUD, here={"config": Known(config)}, live={"tried": tried})
    what = asked(PUBLIC, destination="erin@vps.example.com")
    findings = run_checks(facts, what)
    text = report_text(
        findings,
        summarize(findings, facts, what),
        facts,
        what,
        names_of(facts, what, "/home/frank", "laptop"),
        version="0.1.0",
        journal=["22:41:07  down   no answer from 203.0.113.7"],
    )
    for secret in ("erin", "frank", "vps.example.com", "203.0.113.7", "SHA256:"):
        assert secret not in text
    for kept in ("OpenSSH_9.2p1", "gateway-ports", "## ssh -G", "~/.ssh/k", "## journal"):
        assert kept in text
