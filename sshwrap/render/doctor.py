"""`doctor` as a person reads it, as JSON, and as a text that may be shown to strangers.

Laws. One line a section; opened is only what is not ok and what no other finding explains. What
could not be seen is a count where a real forward works, and else stands with its reason. No line is
wider than the page; a command is never reflowed with the sentence before it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sshwrap.doctor.facts import Facts, Rights, value_of
from sshwrap.doctor.findings import Finding, Section, Verdict
from sshwrap.doctor.judging import Asked, seconds_text
from sshwrap.doctor.redact import Names, redact
from sshwrap.doctor.verdict import Summary
from sshwrap.profile.forward import Forward, Kind, describe_connect, describe_listen
from sshwrap.render.layout import hang, pad, wrap
from sshwrap.render.page import Line, Page, paint
from sshwrap.render.words import count

SCHEMA_VERSION = 1
WORDS = {Verdict.OK: "ok", Verdict.WARN: "warn", Verdict.FAIL: "FAIL", Verdict.UNKNOWN: "?"}
TONES = {Verdict.OK: "good", Verdict.WARN: "warn", Verdict.FAIL: "bad", Verdict.UNKNOWN: "dim"}
WORST_FIRST = (Verdict.FAIL, Verdict.WARN, Verdict.OK, Verdict.UNKNOWN)
WORD_AT, SECTION_AT, TEXT_AT = 2, 8, 18  # cells from the left
LABEL_AT, LABELLED_AT = 2, 8
SET_IN = "    "  # what marks a line of advice as a command, or as a line of a file
NARROW = 48
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
FLAG = {Kind.REMOTE: "", Kind.LOCAL: "-L ", Kind.DYNAMIC: "-D "}


def doctor_lines(
    findings: Sequence[Finding],
    summary: Summary,
    facts: Facts,
    asked: Asked,
    page: Page,
    *,
    verbose: bool = False,
) -> list[Line]:
    """The whole report. `verbose`: every check below its section's line."""
    lines = [*_head(asked, page), ()]
    for section in Section:
        mine = [one for one in findings if one.section is section]
        if mine:
            lines += _section(section, mine, page, verbose)
    lines.append(())
    for one in findings:
        if one.verdict in (Verdict.FAIL, Verdict.WARN) and not one.cause:
            lines += [*_opened(one, page), ()]
    unseen = _unseen(findings, facts, asked, page)
    if unseen:
        lines += [*unseen, ()]
    text = summary.text + (":" if summary.next else "")
    lines += [(("strong", row),) for row in wrap(page.clean(text), page.width)]
    if summary.next:
        lines += _set_in(summary.next, 2, page)
    return [*lines, (), *_wrapped(_cost(facts), 0, page, "dim")]


def section_lines(findings: Sequence[Finding], asked: Asked, page: Page) -> list[Line]:
    """The head, and one line a section of those that are known so far: what a person sees while the
    rest is being asked."""
    lines: list[Line] = [*_head(asked, page), ()]
    for section in Section:
        mine = [one for one in findings if one.section is section]
        if mine:
            lines += _section(section, mine, page, False)
    return lines


def doctor_json(findings: Sequence[Finding], summary: Summary, asked: Asked) -> dict[str, Any]:
    """Version 1: the published shape."""
    return {
        "schema_version": SCHEMA_VERSION,
        "profile": asked.profile.name if asked.has_profile else None,
        "destination": asked.profile.destination,
        "findings": [
            {
                "id": one.id,
                "section": one.section.value,
                "title": one.title,
                "verdict": one.verdict.value,
                "seen": one.seen,
                "why": one.why,
                "advice": one.advice,
            }
            for one in findings
        ],
        "summary": summary.text,
        "next": summary.next or None,
    }


# --- the parts of a screen -------------------------------------------------------------------


def _head(asked: Asked, page: Page) -> list[Line]:
    profile = asked.profile
    place = profile.destination
    if profile.user is not None and "://" not in place:
        place = f"{profile.user}@{place}"
    if profile.port is not None:
        place += f" -p {profile.port}"
    begin = f"{profile.name}: {place}" if asked.has_profile else place
    text = ", ".join([begin, *map(_ends, asked.forwards)])
    return [(("strong" if not index else "", row),) for index, row in enumerate(_hung(text, page))]


def _ends(forward: Forward) -> str:
    connect = "SOCKS proxy" if forward.is_socks else describe_connect(forward)
    return f"{FLAG[forward.kind]}{describe_listen(forward)} → {connect}"


def _section(
    section: Section, findings: Sequence[Finding], page: Page, verbose: bool
) -> list[Line]:
    verdict = next(each for each in WORST_FIRST if any(one.verdict is each for one in findings))
    told = [one for one in findings if one.verdict is verdict]
    text = _folded(section, verdict, told) or "nothing to say"
    at = TEXT_AT if page.width >= NARROW else SECTION_AT + 2
    head: Line = (
        ("", " " * WORD_AT),
        (TONES[verdict], pad(WORDS[verdict], SECTION_AT - WORD_AT)),
        ("", pad(section.value, TEXT_AT - SECTION_AT)),
    )
    rows = wrap(page.clean(text), page.width - at)
    if at == TEXT_AT and rows:
        lines: list[Line] = [(*head, ("", rows.pop(0)))]
    else:
        lines = [(*head[:2], ("", section.value))]
    lines += [(("", " " * at + row),) for row in rows]
    return lines + ([line for one in findings for line in _check(one, page)] if verbose else [])


def _folded(section: Section, verdict: Verdict, told: Sequence[Finding]) -> str:
    """What the section's one line says; of findings with one cause the last, which saw most."""
    if verdict is Verdict.UNKNOWN:
        return "; ".join(dict.fromkeys(_first_row(one.seen) for one in told))
    last = {one.cause: one for one in told if one.cause}
    shown = [one for one in told if not one.cause or last[one.cause] is one]
    folds = [one.fold for one in shown if one.fold]
    folds = folds or [_first_row(one.seen) for one in shown[:1]]
    separator = ", " if section is Section.PATH and verdict is Verdict.OK else "; "
    return separator.join(dict.fromkeys(folds))


def _check(one: Finding, page: Page) -> list[Line]:
    """A line for a check, below its section's."""
    begin = f"{' ' * SECTION_AT}{pad(WORDS[one.verdict], 6)}{one.id}: "
    text = _first_row(one.seen)
    return [(("dim", row),) for row in hang(page.clean(begin + text), page.width, SECTION_AT + 6)]


def _opened(one: Finding, page: Page) -> list[Line]:
    lines: list[Line] = [((TONES[one.verdict], one.id),)]
    for label, text in (("seen", one.seen), ("why", one.why), ("do", one.advice)):
        if text:
            lines += _labelled(label, text, page)
    return lines


def _labelled(label: str, text: str, page: Page) -> list[Line]:
    """The label, and the text beside it: sentences wrapped, what is set in on lines of its own."""
    rows = text.split("\n")
    all_set_in = all(row.startswith(SET_IN) for row in rows)
    shown: list[str] = []
    for row in rows:
        if row.startswith(SET_IN):
            indent = 0 if all_set_in else 2
            room = page.width - LABELLED_AT - indent
            # blanks within stand for columns, or for the blocks of sshd_config: kept
            shown += [" " * indent + one for one in hang(page.clean(row[len(SET_IN) :]), room, 4)]
        else:
            shown += wrap(page.clean(row), page.width - LABELLED_AT)
    begin = " " * LABEL_AT + label
    return [
        (("dim", pad("" if index else begin, LABELLED_AT)), ("", row))
        for index, row in enumerate(shown)
    ]


def _unseen(findings: Sequence[Finding], facts: Facts, asked: Asked, page: Page) -> list[Line]:
    """What could not be seen: a count where a real forward works, else a line for each reason."""
    unknown = [one for one in findings if one.verdict is Verdict.UNKNOWN]
    lines: list[Line] = []
    if _works(findings):
        folded = [one for one in unknown if one.section in (Section.ACCOUNT, Section.SERVER)]
        unknown = [one for one in unknown if one not in folded]
        lines += _wrapped(_count(folded), 0, page, "") if folded else []
    else:
        folded = []
    reasons: dict[str, list[str]] = {}
    for one in unknown:
        reasons.setdefault(_first_row(one.seen), []).append(one.id)
    for reason, ids in reasons.items():
        begin = reason.removeprefix("unknown, because ")
        text = page.clean(f"not seen, because {begin}: {', '.join(ids)}")
        lines += [(("", row),) for row in hang(text, page.width, 2)]
    rights = value_of(facts.account.rights)
    if rights is Rights.NONE and any(one.section is Section.SERVER for one in (*folded, *unknown)):
        admin = asked.doctor("--admin", asked.root)
        lines += _wrapped(f"(to see them: {admin})", 0, page, "dim")
    return lines


def _count(folded: Sequence[Finding]) -> str:
    is_of_sshd = all(one.section is Section.SERVER for one in folded)
    one, many = "more thing", "more things"
    if is_of_sshd:
        one, many = "more keyword of its sshd", "more keywords of its sshd"
    what = count(len(folded), one, many)
    verb = "is" if len(folded) == 1 else "are"
    return f"{what} {verb} not visible to this account; none is needed here"


def _works(findings: Sequence[Finding]) -> bool:
    """Whether the server was seen to open a forward."""
    told = {one.id: one for one in findings}
    opened = [told.get(name) for name in ("test-port", "forwards")]
    return any(one is not None and one.verdict is Verdict.OK for one in opened)


def _cost(facts: Facts) -> str:
    """ "5 s, one sign-in. Nothing was written; two test ports were open for a second." """
    sign_ins = f"{_number(facts.sign_ins)} sign-in{'' if facts.sign_ins < 2 else 's'}"
    text = f"{seconds_text(facts.seconds)}, {sign_ins}. Nothing was written"
    opened = facts.live.ports_opened
    if opened:
        were = "port was" if opened == 1 else "ports were"
        text += f"; {_number(opened)} test {were} open for a second"
    return text + "."


def _number(number: int) -> str:
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def _first_row(text: str) -> str:
    return text.partition("\n")[0]


def _hung(text: str, page: Page) -> list[str]:
    return hang(page.clean(text), page.width, 2)


def _set_in(text: str, cells: int, page: Page) -> list[Line]:
    return [(("", " " * cells + row),) for row in hang(page.clean(text), page.width - cells, 4)]


def _wrapped(text: str, at: int, page: Page, tone: str) -> list[Line]:
    return [((tone, " " * at + row),) for row in wrap(page.clean(text), page.width - at)]


# --- a text to paste -------------------------------------------------------------------------


def report_text(
    findings: Sequence[Finding],
    summary: Summary,
    facts: Facts,
    asked: Asked,
    names: Names,
    *,
    version: str,
    journal: Sequence[str] = (),
) -> str:
    """Versions, findings, `ssh -G` and the journal's last lines, redacted as a whole.

    `version` is sshwrap's own; `journal` the lines as `logs` shows them, oldest first.
    """
    page = Page(width=100)
    ssh, software = value_of(facts.here.ssh), value_of(facts.server.software)
    shell, config = value_of(facts.account.shell), value_of(facts.here.config)
    banner = value_of(facts.way.banner)
    parts = [
        f"sshwrap {version}, doctor --report",
        f"ssh here: {ssh.text or ssh if ssh else 'not known'}",
        f"server: {software.text if software else banner or 'not known'}"
        + (f", {shell.os_release or shell.system}" if shell else ""),
        "",
        *(
            paint(line, page)
            for line in doctor_lines(findings, summary, facts, asked, page, verbose=True)
        ),
        "",
        "## findings",
        json.dumps(doctor_json(findings, summary, asked), indent=1, ensure_ascii=False),
    ]
    if config is not None:
        parts += ["", "## ssh -G"]
        parts += [f"{word} {one}" for word, values in config.values.items() for one in values]
    if journal:
        parts += ["", "## journal", *journal]
    return redact("\n".join(parts), names) + "\n"
