"""`doctor --fix` and `--undo`: look, plan, show, ask, change, prove, and show what came of it.

Laws. Nothing is changed before it was shown and agreed to. What is agreed to is all that happens:
one change of one file on the server, and for `--public` the profile's own forwards. A profile is
changed only after the server is as wanted. Whether there are root's rights is known before anybody
is asked to agree. A password is read from the terminal and handed on to apply_root alone.
"""

from __future__ import annotations

import getpass
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sshwrap.commands.branch import refuse_own_branch
from sshwrap.commands.change import ask_in_parts, kept_order
from sshwrap.commands.doctor import Examined, close, examine, question_of, show
from sshwrap.commands.remedy_profile import Changes, changes_of
from sshwrap.commands.subject import Subject
from sshwrap.commands.talk import note, show_tunnels
from sshwrap.commands.up import RESTART_TIMEOUT, wait_for_verdicts
from sshwrap.doctor.apply import Outcome, Result, apply_order, last_change
from sshwrap.doctor.apply_root import NoRoot, Root, become_root
from sshwrap.doctor.facts import GatewayPorts, Known, value_of
from sshwrap.doctor.findings import Verdict
from sshwrap.doctor.fix_words import WHY
from sshwrap.doctor.gather import Question, gather
from sshwrap.doctor.judging import is_for_all
from sshwrap.doctor.line import Line
from sshwrap.doctor.remedy import (
    ByHand,
    Nothing,
    Options,
    Plan,
    plan_fix,
    plan_undo,
    wanted_of,
    wanted_perhaps,
)
from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.render.layout import hang
from sshwrap.render.page import page_of, print_lines
from sshwrap.supervisor.overview import overview
from sshwrap.supervisor.profiles import load_orders

STEPS = {
    "installed": "written, and sshd -t is content",
    "reloaded": "reloaded",
    "proved": "a new sign-in works",
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
    if options.gateway_ports:  # asked for by name: also where nothing else would want it
        wanted["GatewayPorts"] = options.gateway_ports
    if found.line is None or not wanted:
        show(found, verbose=options.verbose)
        why_not = _why_not_seen(found, how)
        if why_not is not None:
            _say("")
            return _by_hand(why_not)
        if found.line is not None:
            _say("", "nothing to do: nothing is wrong here that --fix puts right")
        return _status(found)
    subject = found.subject
    # With those that ssh_config adds: they count for what the server has to allow.
    profile = replace(subject.profile, remote_forward=found.asked.remote)
    plan = plan_fix(found.facts, profile, wanted, how)
    if isinstance(plan, ByHand):
        return _by_hand(plan)
    changes = changes_of(subject.profile, plan.forwards)
    changes.check()
    if isinstance(plan, Nothing):
        if not changes.mine:
            _say(f"nothing to do on the server: {plan.reason}", *changes.by_hand())
            return ExitStatus.NOT_AS_WANTED if changes.elsewhere else ExitStatus.OK
        _say("The server needs no change; the profile does:")
        _show_profile_diff(changes)
    else:
        _show_plan(found, plan)
        _show_profile_diff(changes)
    if options.dry_run:
        return ExitStatus.OK
    _refuse_nobody(options)
    root = None if isinstance(plan, Nothing) else _root(found, found.line, options)
    if not _agreed(options):
        return ExitStatus.NOT_AS_WANTED
    if isinstance(plan, Plan) and root is not None:
        _raise_unless_applied(_apply(root, found, plan))
    return _after(found, changes, options, places, has_undo=root is not None)


def _why_not_seen(found: Examined, how: Options) -> ByHand | None:
    """Nothing is known to be wrong; where that is because nothing could be seen, and nothing could
    be changed either, that is the answer."""
    wanted = wanted_perhaps(found.findings, how)
    if found.line is None or not wanted:
        return None
    plan = plan_fix(found.facts, found.subject.profile, wanted, how)
    return plan if isinstance(plan, ByHand) else None


def _after(
    found: Examined, changes: Changes, options: Namespace, places: Places, *, has_undo: bool
) -> ExitStatus:
    """The server is as wanted: the profile, the tunnel, and what is left to a person."""
    if changes.mine:
        changes.write()
        _say(f"  {changes.path}: written")
    left = changes.by_hand()
    _say(*left)
    is_in_vain = bool(left) and not changes.path  # as it was started it asks for the same again
    status = ExitStatus.OK if is_in_vain else _restart(found.subject, places)
    if has_undo:
        _say("", f"Undo at any time: {found.asked.doctor('--undo', *_admin(options))}")
    return ExitStatus.NOT_AS_WANTED if left else status


def undo(subject: Subject, options: Namespace, places: Places) -> ExitStatus:
    """`--undo`: take the last change on that server back."""
    found = _look(subject, options, places)
    try:
        if found.line is None:
            show(found, verbose=options.verbose)
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
        _refuse_nobody(options)
        if not _agreed(options):
            return ExitStatus.NOT_AS_WANTED
        _raise_unless_applied(_apply(root, found, plan))
        status = _restart(subject, places, is_undo=True)
        _tell_what_is_asked(found, plan)
        return status
    finally:
        close(found.line)


# --- looking -----------------------------------------------------------------


def _look(subject: Subject, options: Namespace, places: Places) -> Examined:
    question = question_of(subject, places, options.admin)
    if not options.quiet:
        note("looking first")
    return examine(subject, question, as_public=options.public, tell=lambda _: None)


def _options(found: Examined, options: Namespace) -> Options:
    config = value_of(found.facts.here.config)
    return Options(
        today=datetime.now(UTC).strftime("%Y-%m-%d"),
        account=config.user if config is not None and options.admin else "",
        everybody=options.everybody,
        public=options.public,
        gateway_ports=options.gateway_ports or "clientspecified",
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
        _type_password if can_ask else None,
        _nonce(),
        user=shell.user if shell is not None else "",
    )
    if isinstance(root, NoRoot):
        raise UserError(
            f"not as root: {root.reason}",
            said=root.said or None,
            advice=found.asked.doctor(
                "--undo" if options.undo else "--fix", "--admin", found.asked.root
            ),
        )
    return root


def _type_password(prompt: str) -> str | None:
    """None where nobody typed one, or where what is typed would be seen."""
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except (EOFError, getpass.GetPassWarning):
            return None


def _apply(root: Root, found: Examined, plan: Plan) -> Outcome:
    told: list[str] = []

    def prove() -> str | None:
        return _prove(found, plan)

    def tell(step: str) -> None:
        told.append(step)
        if step in STEPS:
            has_it = ", and has it" if step == "proved" and plan.order.wanted else ""
            _say(f"  {STEPS[step]}{has_it}")

    try:
        return apply_order(plan.order, root, prove, _nonce(), tell=tell)
    except KeyboardInterrupt:
        if "confirmed" not in told:
            seconds = plan.order.seconds
            _say("", f"stopped half-way: the server takes it back by itself within {seconds} s")
        raise


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


def _raise_unless_applied(outcome: Outcome) -> None:
    if outcome.result is Result.APPLIED:
        return
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


# --- the tunnel --------------------------------------------------------------


def _restart(subject: Subject, places: Places, *, is_undo: bool = False) -> ExitStatus:
    """A session keeps the rules it began with, so a tunnel that is up has to begin anew."""
    name = subject.profile.name
    keeper = overview(places, os.environ).keeper_of(name) if subject.has_profile else None
    if keeper is None:
        if subject.has_profile and not is_undo:
            _say("", f"Next: sshwrap up {name}")
        return ExitStatus.OK
    try:
        refuse_own_branch("restart", [keeper.tunnels[name]])
    except UserError as error:  # what was asked for is done; the rest is the caller's to begin
        _say("", f"not restarted: {error.message}", "when it may be cut:", f"    {error.advice}")
        return ExitStatus.NOT_AS_WANTED
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


def _show_profile_diff(changes: Changes) -> None:
    if changes.mine:
        _say(f"in {changes.path}, profile {changes.profile.name}:")
        for old, new in changes.mine:
            _verbatim([f"-{old.spec}", f"+{new.spec}"])


def _tell_what_is_asked(found: Examined, plan: Plan) -> None:
    """--undo takes back what was done on the server, and leaves the profile."""
    asked = found.asked
    is_about_reach = "gatewayports" in {one.lower() for one in plan.order.may_change}
    if is_about_reach and any(map(is_for_all, asked.remote_ports)):
        _say("", f"{asked.name} still asks for every address: its profile was not changed")


def _by_hand(plan: ByHand) -> ExitStatus:
    _say(f"not done: {plan.reason}", *plan.lines)
    return ExitStatus.NOT_AS_WANTED


def _admin(options: Namespace) -> tuple[str, ...]:
    return ("--admin", options.admin) if options.admin else ()


def _said(words: str) -> tuple[str, ...]:
    return (f"  said: {words}",) if words else ()


def _refuse_nobody(options: Namespace) -> None:
    """Raises UserError where nobody is there to agree."""
    if not options.yes and (options.no_input or not sys.stdin.isatty()):
        raise UserError(
            "nobody is there to be asked, so nothing was changed",
            advice="the same command with --yes, where the change above is what you want",
        )


def _agreed(options: Namespace) -> bool:
    """Ask; says so where nothing is changed then."""
    if options.yes:
        return True
    sys.stdout.write("Apply? [y/N] ")
    sys.stdout.flush()
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        _say("", "nothing was changed")
        raise
    if not answer.endswith("\n"):  # the end of the input: the cursor still stands there
        _say("")
    if answer.strip().lower() in ("y", "yes"):
        return True
    _say("nothing was changed")
    return False


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
