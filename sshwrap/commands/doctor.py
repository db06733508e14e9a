"""`sshwrap doctor`: why can nobody reach my port; with `--fix` it is put right (remedy.py)."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sshwrap import __version__
from sshwrap.commands.choose import choose
from sshwrap.commands.talk import note
from sshwrap.commands.up import wanted_by_run
from sshwrap.doctor.checks import Asked, run_checks
from sshwrap.doctor.facts import NOT_ASKED, Facts
from sshwrap.doctor.findings import Finding, Section
from sshwrap.doctor.gather import Question, gather
from sshwrap.doctor.line import Line
from sshwrap.doctor.redact import names_of
from sshwrap.doctor.verdict import Summary, exit_status, summarize
from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.profile.destination import DestinationError, parse_destination
from sshwrap.profile.model import Profile
from sshwrap.render.doctor import doctor_json, doctor_lines, report_text, section_lines
from sshwrap.render.page import Page, is_dumb, page_of, paint, print_lines
from sshwrap.render.story import story_lines
from sshwrap.supervisor.journal import read_entries
from sshwrap.supervisor.order import Order
from sshwrap.supervisor.overview import Overview, overview
from sshwrap.supervisor.profiles import load_profiles
from sshwrap.supervisor.program import find_ssh
from sshwrap.supervisor.reclaim import read_record, why_not_now
from sshwrap.supervisor.resolve import resolve

REPORT_ENTRIES = 60  # of the journal


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined: a profile, or a destination alone. `tunnel`: its snapshot, where some
    supervisor keeps it."""

    profile: Profile
    has_profile: bool
    tunnel: dict[str, Any] | None
    neighbours: int  # profiles that go to this server


@dataclass(frozen=True, slots=True)
class Examined:
    """`line` is open where the sign-in worked; whoever has it closes it."""

    subject: Subject
    question: Question
    asked: Asked
    facts: Facts
    findings: tuple[Finding, ...]
    summary: Summary
    line: Line | None


def doctor(options: Namespace, places: Places) -> int:
    """0 where nothing fails, 1 where something does; of --fix and --undo: whether it was done."""
    _refuse_contradictions(options)
    places.prepare_state_dir()
    subjects = _subjects(options, places)
    if not subjects:
        if not options.quiet and not options.json:
            note("everything that is wanted is up, and as asked")
        return int(ExitStatus.OK)
    if options.fix or options.undo:
        if len(subjects) > 1:
            names = ", ".join(one.profile.name for one in subjects)
            raise UserError(
                f"one at a time: {names}", advice="sshwrap doctor NAME --fix", status=_USAGE
            )
        from sshwrap.commands.remedy import put_right, undo

        act = undo if options.undo else put_right
        return int(act(subjects[0], options, places))
    worst = 0
    for number, subject in enumerate(subjects):
        if number and not options.json:
            sys.stdout.write("\n")
        worst = max(worst, _examine_and_show(subject, options, places))
    return worst


_USAGE = ExitStatus.USAGE


def _refuse_contradictions(options: Namespace) -> None:
    def refuse(text: str) -> None:
        raise UserError(text, advice="sshwrap doctor --help", status=_USAGE)

    if options.fix and options.undo:
        refuse("--fix and --undo are two things")
    is_change = options.fix or options.undo
    if is_change and (options.json or options.report):
        refuse("--json and --report are for looking, not for changing")
    for name in ("dry_run", "yes", "everybody"):
        if getattr(options, name) and not is_change:
            refuse(f"--{name.replace('_', '-')} goes with --fix or --undo")
    if options.gateway_ports != "clientspecified" and not options.fix:
        refuse("--gateway-ports goes with --fix")
    if options.report and options.json:
        refuse("--report and --json are two answers")


# --- whom --------------------------------------------------------------------


def _subjects(options: Namespace, places: Places) -> list[Subject]:
    view = overview(places, os.environ)
    if isinstance(view.fault, UserError):
        raise view.fault
    profiles = {**wanted_by_run(places), **load_profiles(places, os.environ).profiles}
    tunnels = {tunnel["profile"]: tunnel for tunnel in view.tunnels}
    if options.name is None:
        chosen = _not_as_asked(profiles, tunnels)
    elif options.name in profiles or any(sign in options.name for sign in "*?["):
        chosen = [profiles[name] for name in choose([options.name], profiles)]
    else:
        return [Subject(_of_destination(options.name, profiles), False, None, 1)]
    return [
        Subject(one, True, _kept(view, one.name), _neighbours(one, profiles.values()))
        for one in chosen
    ]


def _not_as_asked(
    profiles: dict[str, Profile], tunnels: dict[str, dict[str, Any]]
) -> list[Profile]:
    wrong = [one for name, one in profiles.items() if name in tunnels and not tunnels[name]["ok"]]
    if wrong:
        return wrong
    if len(profiles) == 1:
        return list(profiles.values())
    if not profiles:
        raise UserError(
            "no profiles yet",
            advice="sshwrap doctor root@vps.example.com    (a server alone can be looked at)",
            status=_USAGE,
        )
    return []


def _of_destination(word: str, profiles: dict[str, Profile]) -> Profile:
    """`[user@]host`, or a Host of ssh_config; a word that is nearly a profile's name is none."""
    if not any(sign in word for sign in "@.:/"):
        from difflib import get_close_matches

        if get_close_matches(word, profiles, n=1):
            choose([word], profiles)  # raises, with what was meant
    try:
        host = parse_destination(word).host
    except DestinationError as error:
        fault = f'no profile "{word}", and no destination: {error}'
        raise UserError(fault, status=_USAGE) from None
    return Profile(host, word)


def _kept(view: Overview, name: str) -> dict[str, Any] | None:
    keeper = view.keeper_of(name)
    return None if keeper is None else keeper.tunnels[name]


def _neighbours(profile: Profile, profiles: Any) -> int:
    def place(one: Profile) -> tuple[str, int | None]:
        named = parse_destination(one.destination)
        return named.host, one.port or named.port

    return sum(place(one) == place(profile) for one in profiles)


# --- looking -----------------------------------------------------------------


def question_of(subject: Subject, places: Places, admin: str | None) -> Question:
    profile = subject.profile
    order = _order(profile, places)
    record = read_record(places, profile.name) if subject.has_profile else None
    if record is not None and (order is None or why_not_now(record, order, places) is not None):
        record = None
    tunnel = subject.tunnel
    return Question(
        profile,
        os.environ,
        places.control_dir,
        added=order.added if order is not None else (),
        ssh=places.ssh,
        control_path=None if tunnel is None else tunnel.get("_control_path"),
        snapshot=tunnel,
        profiles_at_server=subject.neighbours,
        admin=admin,
        record=record,
    )


def _order(profile: Profile, places: Places) -> Order | None:
    """What ssh_config makes of it; None where ssh does not say, which is then one of the facts."""
    try:
        return resolve([profile], find_ssh(places.ssh, os.environ), os.environ)[0]
    except UserError:
        return None


def examine(
    subject: Subject, question: Question, *, as_public: bool, tell: Callable[[Facts], None]
) -> Examined:
    asked = asked_of(subject, question, as_public=as_public)
    facts, line = gather(question, tell)
    findings = run_checks(facts, asked)
    return Examined(
        subject, question, asked, facts, findings, summarize(findings, facts, asked), line
    )


def asked_of(subject: Subject, question: Question, *, as_public: bool) -> Asked:
    forwards = (*subject.profile.forwards, *question.added)
    return Asked(subject.profile, forwards, as_public, subject.has_profile)


def _examine_and_show(subject: Subject, options: Namespace, places: Places) -> int:
    question = question_of(subject, places, options.admin)
    progress = Progress(asked_of(subject, question, as_public=options.public), options)
    found = examine(subject, question, as_public=options.public, tell=progress.tell)
    progress.clear()
    close(found.line)
    if options.json:
        answer = doctor_json(found.findings, found.summary, found.asked)
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    elif options.report:
        _report(found, options.report, places, quiet=options.quiet)
    else:
        show(found, verbose=options.verbose)
    return exit_status(found.findings)


def show(found: Examined, *, verbose: bool) -> None:
    page = page_of(sys.stdout, os.environ)
    lines = doctor_lines(
        found.findings, found.summary, found.facts, found.asked, page, verbose=verbose
    )
    print_lines(lines, sys.stdout, page)


def close(line: Line | None) -> None:
    ending = getattr(line, "close", None)
    if ending is not None:
        ending()


def _report(found: Examined, path: str, places: Places, *, quiet: bool) -> None:
    home = os.environ.get("HOME", "")
    names = names_of(found.facts, found.asked, home, os.uname().nodename)
    text = report_text(
        found.findings,
        found.summary,
        found.facts,
        found.asked,
        names,
        version=__version__,
        journal=_journal(found.subject, places),
    )
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        # Redacted, and still nobody else's until its owner gives it away.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f'"{path}" cannot be written', said=error.strerror) from None
    if not quiet:
        note(f"{path}: written; names, addresses and keys are replaced: read it before you send it")


def _journal(subject: Subject, places: Places) -> list[str]:
    if not subject.has_profile:
        return []
    entries = read_entries([places.journal_file(subject.profile.name)]).entries
    page = Page(width=100)
    last = entries[-REPORT_ENTRIES:]
    return [paint(line, page) for line in story_lines(last, page, datetime.now(UTC))]


class Progress:
    """The sections as they become known, on a terminal, where the report will stand in the end."""

    def __init__(self, asked: Asked, options: Namespace) -> None:
        self._asked = asked
        self._rows = 0
        is_seen = sys.stdout.isatty() and not is_dumb(os.environ)
        self._shows = is_seen and not (options.json or options.report or options.quiet)

    def tell(self, facts: Facts) -> None:
        if not self._shows:
            return
        page = page_of(sys.stdout, os.environ)
        known = _known_sections(facts)
        findings = [one for one in run_checks(facts, self._asked) if one.section in known]
        lines = section_lines(findings, self._asked, page)[: page.height - 2]
        self.clear()
        print_lines(lines, sys.stdout, page)
        self._rows = len(lines)

    def clear(self) -> None:
        if self._rows:
            sys.stdout.write(f"\033[{self._rows}A\033[J")
            sys.stdout.flush()
            self._rows = 0


def _known_sections(facts: Facts) -> Sequence[Section]:
    begun = {
        Section.HERE: facts.here.config,
        Section.PATH: facts.way.host_key,
        Section.ACCOUNT: facts.account.sign_in,
        Section.SERVER: facts.server.effective,
        Section.LIVE: facts.live.tried,
    }
    known = [section for section, fact in begun.items() if fact is not NOT_ASKED]
    return [*known, Section.PORT] if facts.ports else known
