"""`doctor --fix` and `--undo`: look, plan, show, ask, change, prove, and show what came of it.

Laws. Nothing is changed before it was shown and agreed to. What is agreed to is all that happens:
one change of one file on the server, and for `--public` the profile's own forwards. A profile is
changed only after the server is as wanted.
"""

from __future__ import annotations

import getpass
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sshwrap.commands.change import ask_in_parts, kept_order
from sshwrap.commands.doctor import Examined, Subject, close, examine, question_of
from sshwrap.commands.talk import note, show_tunnels
from sshwrap.commands.up import RESTART_TIMEOUT, wait_for_verdicts
from sshwrap.doctor.apply import Outcome, Result, apply_order, last_change
from sshwrap.doctor.apply_root import NoRoot, Root, become_root
from sshwrap.doctor.facts import GatewayPorts, Known, value_of
from sshwrap.doctor.findings import Verdict
from sshwrap.doctor.fix_words import WHY
from sshwrap.doctor.gather import Question, gather
from sshwrap.doctor.line import Line
from sshwrap.doctor.remedy import (
    ByHand,
    Nothing,
    Options,
    Plan,
    plan_fix,
    plan_undo,
    wanted_of,
)
from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.profile.file import read_text
from sshwrap.profile.forward import Forward
from sshwrap.profile.rewrite import rewrite_forward
from sshwrap.render.doctor import doctor_lines
from sshwrap.render.layout import hang
from sshwrap.render.page import page_of, print_lines
from sshwrap.supervisor.overview import overview
from sshwrap.supervisor.profiles import load_orders
from sshwrap.supervisor.wanted import write_whole

Change = tuple[Forward, Forward]

STEPS = {
    "installed": "written, and sshd -t is content",
    "reloaded": "reloaded",
    "proved": "a new sign-in works, and has it",
    "confirmed": "the timer that would have taken it back is stopped",
}


def put_right(subject: Subject, options: Namespace, places: Places) -> ExitStatus:
    """`--fix`."""
    found = _look(subject, options, places)
    try:
        return _put_right(found, options, places)
    finally:
        close(found.line)


def _put_right(found: Examined, options: Namespace, places: Places) -> ExitStatus:
    how = _options(found, options)
    wanted = wanted_of(found.findings, how)
    if found.line is None or not wanted:
        _show(found)
        if found.line is not None:
            _say("", "Nothing here is wrong that --fix puts right.")
        return _status(found)
    profile = replace(found.subject.profile, remote_forward=tuple(f for f in found.asked.remote))
    plan = plan_fix(found.facts, profile, wanted, how)
    if isinstance(plan, ByHand):
        return _by_hand(plan)
    changes = plan.forwards if found.subject.profile.profiles_file else ()
    rewritten = _rewritten(found.subject, changes)
    if isinstance(plan, Nothing):
        if not changes:
            _say(f"nothing to do: {plan.reason}")
            _tell_run(found.subject, plan.forwards)
            return ExitStatus.OK
        return _profile_alone(found.subject, rewritten, changes, options, places)
    _show_plan(found, plan)
    _show_profile_diff(found.subject, changes)
    if options.dry_run:
        return ExitStatus.OK
    if not _agreed(options):
        _say("nothing was changed")
        return ExitStatus.NOT_AS_WANTED
    if not _told(_apply(_root(found, found.line, options), found, plan)):
        return ExitStatus.NOT_AS_WANTED
    path = found.subject.profile.profiles_file
    if rewritten is not None and path is not None:
        _write_profile(path, rewritten)
    _tell_run(found.subject, plan.forwards)
    status = _restart(found.subject, places)
    _say("", f"Undo at any time: {found.asked.doctor('--undo', *_admin(options))}")
    return status


def undo(subject: Subject, options: Namespace, places: Places) -> ExitStatus:
    """`--undo`: take the last change on that server back."""
    found = _look(subject, options, places)
    try:
        if found.line is None:
            _show(found)
            return ExitStatus.NOT_AS_WANTED
        root = _root(found, found.line, options)
        last = last_change(root, _nonce())
        if isinstance(last, Outcome):
            words = WHY[last.why]
            _say(words.summary, *_said(last.said))
            return ExitStatus.OK if last.why == "none" else ExitStatus.NOT_AS_WANTED
        plan = plan_undo(found.facts, last, _options(found, options))
        if isinstance(plan, ByHand):
            return _by_hand(plan)
        _show_plan(found, plan)
        if options.dry_run:
            return ExitStatus.OK
        if not _agreed(options):
            _say("nothing was changed")
            return ExitStatus.NOT_AS_WANTED
        if not _told(_apply(root, found, plan)):
            return ExitStatus.NOT_AS_WANTED
        return _restart(subject, places, is_undo=True)
    finally:
        close(found.line)


# --- looking -----------------------------------------------------------------


def _look(subject: Subject, options: Namespace, places: Places) -> Examined:
    question = question_of(subject, places, options.admin)
    progress = _Quiet(options)
    return examine(subject, question, as_public=options.public, tell=progress.tell)


class _Quiet:
    """What is looked at first is not the answer: said in one line of talk."""

    def __init__(self, options: Namespace) -> None:
        if not options.quiet:
            note("looking first")

    def tell(self, facts: object) -> None:
        pass


def _options(found: Examined, options: Namespace) -> Options:
    config = value_of(found.facts.here.config)
    return Options(
        today=datetime.now(UTC).strftime("%Y-%m-%d"),
        account=config.user if config is not None and options.admin else "",
        everybody=options.everybody,
        public=options.public,
        gateway_ports=options.gateway_ports,
    )


def _status(found: Examined) -> ExitStatus:
    failed = any(one.verdict is Verdict.FAIL for one in found.findings)
    return ExitStatus.NOT_AS_WANTED if failed else ExitStatus.OK


# --- changing ----------------------------------------------------------------


def _nonce() -> str:
    return os.urandom(16).hex()


def _root(found: Examined, line: Line, options: Namespace) -> Root:
    """Raises UserError."""
    shell = value_of(found.facts.account.shell)
    can_ask = sys.stdin.isatty() and not options.no_input
    root = become_root(
        line,
        value_of(found.facts.account.rights),
        getpass.getpass if can_ask else None,
        _nonce(),
        user=shell.user if shell is not None else "",
    )
    if isinstance(root, NoRoot):
        raise UserError(
            f"not as root: {root.reason}",
            said=root.said or None,
            advice=found.asked.doctor("--fix", "--admin", "root@HOST"),
        )
    return root


def _apply(root: Root, found: Examined, plan: Plan) -> Outcome:
    def prove() -> str | None:
        return _prove(found, plan)

    def tell(step: str) -> None:
        if step in STEPS:
            _say(f"  {STEPS[step]}")

    return apply_order(plan.order, root, prove, _nonce(), tell=tell)


def _prove(found: Examined, plan: Plan) -> str | None:
    """A new sign-in; None where it works and has what was wanted, else why not."""
    question: Question = replace(found.question, control_path=None, snapshot=None, admin=None)
    facts, line = gather(question, lambda _: None)
    close(line)
    sign_in = value_of(facts.account.sign_in)
    could_before = found.question.admin is None
    if sign_in is None or sign_in.failure is not None:
        said = "" if sign_in is None or sign_in.failure is None else sign_in.failure.said
        summary = (
            sign_in.failure.summary if sign_in is not None and sign_in.failure else "no answer"
        )
        if could_before:
            return f"{summary}: {said}" if said else summary
        # The profile's account never could: then whoever looked has to get in again.
        facts, line = gather(replace(question, admin=found.question.admin), lambda _: None)
        close(line)
        again = value_of(facts.account.sign_in)
        return None if again is not None and again.failure is None else summary
    return _not_as_wanted(plan, facts.live.gateway_ports, plan.order.wanted.get("GatewayPorts"))


def _not_as_wanted(plan: Plan, live: object, gateway_ports: str | None) -> str | None:
    """What a forward on a test port shows; what it cannot show the server has compared itself."""
    if gateway_ports is None or not isinstance(live, Known):
        return None
    as_wanted = {GatewayPorts.YES.value} | {gateway_ports}
    if live.value.value in as_wanted:
        return None
    return f'a new forward still shows GatewayPorts "{live.value.value}"'


def _told(outcome: Outcome) -> bool:
    """Say what came of it; whether it is done."""
    if outcome.result is Result.APPLIED:
        return True
    words = WHY[outcome.why]
    ends = {
        Result.UNTOUCHED: "nothing was changed",
        Result.UNDONE: "it was taken back; the server is as it was",
        Result.UNSURE: "the server takes it back by itself within a minute, unless it was proved",
    }
    raise UserError(
        f"{words.summary}: {ends[outcome.result]}",
        said=outcome.said or None,
        advice=words.advice,
    )


# --- the profile -------------------------------------------------------------


def _rewritten(subject: Subject, changes: Sequence[Change]) -> str | None:
    """The profiles file with these forwards; raises UserError where that cannot be written."""
    path = subject.profile.profiles_file
    if not changes or path is None:
        return None
    text = read_text(Path(path))
    for old, new in changes:
        index = subject.profile.remote_forward.index(old)
        found = rewrite_forward(text, subject.profile.name, index, old.spec, new.spec)
        if found is None:
            raise UserError(
                f'{path}: "{old.spec}" of {subject.profile.name} cannot be found there as it is '
                "written",
                advice=f'write "{new.spec}" there yourself, then the same command again',
            )
        text = found
    return text


def _write_profile(path: str, text: str) -> None:
    real = os.path.realpath(path)
    mode = Path(real).stat().st_mode & 0o777
    write_whole(real, text)
    Path(real).chmod(mode)
    _say(f"  {path}: written")


def _profile_alone(
    subject: Subject,
    rewritten: str | None,
    changes: Sequence[Change],
    options: Namespace,
    places: Places,
) -> ExitStatus:
    _say("The server needs no change; the profile does:")
    _show_profile_diff(subject, changes)
    if options.dry_run:
        return ExitStatus.OK
    path = subject.profile.profiles_file
    if not _agreed(options) or rewritten is None or path is None:
        _say("nothing was changed")
        return ExitStatus.NOT_AS_WANTED
    _write_profile(path, rewritten)
    return _restart(subject, places)


def _tell_run(subject: Subject, changes: Sequence[Change]) -> None:
    """A tunnel of `run` has no file: its forward is on the command line."""
    if changes and subject.profile.profiles_file is None and subject.has_profile:
        specs = " ".join(f"-R '{new.spec}'" for _, new in changes)
        _say(f"{subject.profile.name} has no file: start it again with {specs}")


def _restart(subject: Subject, places: Places, *, is_undo: bool = False) -> ExitStatus:
    """A session keeps the rules it began with, so a tunnel that is up has to begin anew."""
    name = subject.profile.name
    keeper = overview(places, os.environ).keeper_of(name) if subject.has_profile else None
    if keeper is None:
        if subject.has_profile and not is_undo:
            _say("", f"Next: sshwrap up {name}")
        return ExitStatus.OK
    if subject.profile.profiles_file is None:
        order = kept_order(places, name)
    else:
        place = Places(subject.profile.profiles_file, places.state_dir, places.ssh)
        order = load_orders(place, os.environ, [name])[name]
    ask_in_parts(keeper, {"op": "restart"}, [order])
    verdicts = wait_for_verdicts([keeper], [name], RESTART_TIMEOUT)
    show_tunnels(list(verdicts.tunnels.values()), sys.stdout)
    return ExitStatus.OK if is_undo else verdicts.exit_status()


# --- what is said ------------------------------------------------------------


def _show(found: Examined) -> None:
    page = page_of(sys.stdout, os.environ)
    lines = doctor_lines(found.findings, found.summary, found.facts, found.asked, page)
    print_lines(lines, sys.stdout, page)


def _show_plan(found: Examined, plan: Plan) -> None:
    shell = value_of(found.facts.account.shell)
    host = found.question.admin or found.subject.profile.destination
    who = f"on {host.rpartition('@')[2]}, as root"
    if shell is not None and shell.user != "root":
        who += f" (by sudo of {shell.user})"
    _say(f"{who}:")
    _verbatim(plan.diff)
    _verbatim(plan.commands)
    others = "for anybody" if plan.order.everybody else "for this account or another"
    _say(
        f"Compared before and after: no other value changes, {others}. Unless a new sign-in "
        f"succeeds within {plan.order.seconds} s the server undoes it by itself."
    )
    if plan.risk:
        _say("", plan.risk[0])
        _verbatim(plan.risk[1:])


def _show_profile_diff(subject: Subject, changes: Sequence[Change]) -> None:
    if changes:
        _say(f"in {subject.profile.profiles_file}, profile {subject.profile.name}:")
        for old, new in changes:
            _verbatim([f"-{old.spec}", f"+{new.spec}"])


def _by_hand(plan: ByHand) -> ExitStatus:
    _say(f"not done: {plan.reason}", *plan.lines)
    return ExitStatus.NOT_AS_WANTED


def _admin(options: Namespace) -> tuple[str, ...]:
    return ("--admin", options.admin) if options.admin else ()


def _said(words: str) -> tuple[str, ...]:
    return (f"  said: {words}",) if words else ()


def _agreed(options: Namespace) -> bool:
    if options.yes:
        return True
    if options.no_input or not sys.stdin.isatty():
        raise UserError(
            "nobody is there to be asked, so nothing was changed",
            advice="the same command with --yes, where the change above is what you want",
        )
    sys.stdout.write("Apply? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(*rows: str) -> None:
    page = page_of(sys.stdout, os.environ)
    for row in rows:
        if row.startswith("    "):
            _verbatim([row.removeprefix("    ")])
            continue
        indent = len(row) - len(row.lstrip())
        shown = hang(page.clean(row), page.width, indent) or [""]
        print_lines([(("", one),) for one in shown], sys.stdout, page)


def _verbatim(rows: Sequence[str]) -> None:
    """A diff, a command: never reflowed."""
    page = page_of(sys.stdout, os.environ)
    print_lines([(("", f"  {page.clean(row)}"),) for row in rows], sys.stdout, page)
