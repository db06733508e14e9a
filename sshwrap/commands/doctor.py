"""`sshwrap doctor`: why can nobody reach my port; with `--fix` it is put right (remedy.py)."""

from __future__ import annotations

import json
import os
import stat
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sshwrap import __version__
from sshwrap.commands.subject import Subject, find_subjects
from sshwrap.commands.talk import note
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
from sshwrap.supervisor.program import find_ssh
from sshwrap.supervisor.reclaim import read_record, why_not_now
from sshwrap.supervisor.resolve import resolve

REPORT_ENTRIES = 60  # of the journal


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
    refuse_contradictions(options)
    subjects = find_subjects(options, places)
    is_one_needed = options.fix or options.undo or options.report is not None
    if not subjects.found:
        if is_one_needed:
            raise UserError(subjects.why_none, status=ExitStatus.USAGE)
        if not options.quiet:
            note(subjects.why_none)
        return int(ExitStatus.OK)
    if is_one_needed and len(subjects.found) > 1:
        names = ", ".join(one.profile.name for one in subjects.found)
        raise UserError(
            f"that goes for one at a time, and there are {names}",
            advice="the same command with one of these names",
            status=ExitStatus.USAGE,
        )
    if options.fix or options.undo:
        from sshwrap.commands.remedy import put_right, undo

        places.prepare_state_dir()  # for the control socket
        act = undo if options.undo else put_right
        return int(act(subjects.found[0], options, places))
    report = None if options.report is None else Report(options.report)
    places.prepare_state_dir()
    worst = 0
    for number, subject in enumerate(subjects.found):
        if number and not options.json:
            sys.stdout.write("\n")
        worst = max(worst, _examine_and_show(subject, options, places, report))
    return worst


def refuse_contradictions(options: Namespace) -> None:
    """Raises UserError (2): no option is silently without effect."""

    def refuse(text: str) -> None:
        raise UserError(text, advice="sshwrap doctor --help", status=ExitStatus.USAGE)

    is_change = options.fix or options.undo
    if options.fix and options.undo:
        refuse("--fix and --undo are two things")
    if is_change and (options.json or options.report is not None):
        refuse("--json and --report are for looking, not for changing")
    if options.report is not None and options.json:
        refuse("--report and --json are two answers")
    for name in ("dry_run", "yes"):
        if getattr(options, name) and not is_change:
            refuse(f"--{name.replace('_', '-')} goes with --fix or --undo")
    for name in ("everybody", "gateway_ports"):
        if getattr(options, name) and not options.fix:
            refuse(f"--{name.replace('_', '-')} goes with --fix")
    if options.public and options.undo:
        refuse("--public goes with looking, or with --fix")
    if options.admin is not None:
        try:
            parse_destination(options.admin)
        except DestinationError as error:
            refuse(f"--admin: {error}")


# --- looking -----------------------------------------------------------------


def question_of(subject: Subject, places: Places, admin: str | None) -> Question:
    profile = subject.profile
    order, fault = _order(profile, places)
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
        fault=fault if subject.has_profile else "",
        admin=admin,
        record=record,
    )


def _order(profile: Profile, places: Places) -> tuple[Order | None, str]:
    """What ssh_config makes of it; where that is a fault, which `up` would refuse, its words."""
    try:
        ssh = find_ssh(places.ssh, os.environ)
    except UserError:
        return None, ""  # one of the facts by itself
    try:
        return resolve([profile], ssh, os.environ)[0], ""
    except UserError as error:
        return None, error.message.removeprefix(f"{profile.name}: ")


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


def _examine_and_show(
    subject: Subject, options: Namespace, places: Places, report: Report | None
) -> int:
    question = question_of(subject, places, options.admin)
    progress = Progress(asked_of(subject, question, as_public=options.public), options)
    try:
        found = examine(subject, question, as_public=options.public, tell=progress.tell)
    finally:
        progress.clear()
    close(found.line)
    if options.json:
        answer = doctor_json(found.findings, found.summary, found.asked)
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    elif report is not None:
        report.write(_report_text(found, places))
        if not options.quiet:
            report.tell()
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


def _report_text(found: Examined, places: Places) -> str:
    home = os.environ.get("HOME", "")
    names = names_of(found.facts, found.asked, home, os.uname().nodename)
    return report_text(
        found.findings,
        found.summary,
        found.facts,
        found.asked,
        names,
        version=__version__,
        journal=_journal(found.subject, places),
    )


class Report:
    """Where the report goes. Opened before anything is asked: a file that cannot be written is not
    learned of after everything was. What stood there before stays until there is something new."""

    def __init__(self, path: str) -> None:
        """Raises UserError. "-" is stdout."""
        self._path = path
        if path == "-":
            return
        try:
            # Redacted, and still nobody else's until its owner gives it away.
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (OSError, ValueError) as error:
            raise self._fault(error) from None

    def write(self, text: str) -> None:
        if self._path == "-":
            sys.stdout.write(text)
            return
        try:
            with os.fdopen(self._descriptor, "w", encoding="utf-8") as file:
                if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                    os.fchmod(self._descriptor, 0o600)
                    os.ftruncate(self._descriptor, 0)
                file.write(text)
        except OSError as error:
            raise self._fault(error) from None

    def tell(self) -> None:
        if self._path != "-":
            what = "names, addresses and keys are replaced: read it before you send it"
            note(f"{self._path}: written; {what}")

    def _fault(self, error: OSError | ValueError) -> UserError:
        said = error.strerror if isinstance(error, OSError) else str(error)
        return UserError(f'"{self._path}" cannot be written', said=said)


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
        self._shows = is_seen and not (options.json or options.report is not None or options.quiet)

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
