"""What the server is told to do to its sshd_config, and what its answer says.

Laws. A script defines its functions and calls one on its last line: half of it, cut by a lost line,
does nothing. Every value is quoted once, by shlex. The answer stands between two lines that hold a
number nobody could know before; where the second is missing the line was cut, and nothing is
concluded but that the server takes an unproved change back by itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sshwrap.doctor.facts import Listening, Reloader
from sshwrap.doctor.fix_shell import INSTALL, LAST, SHARED
from sshwrap.doctor.sshd_config import Criteria
from sshwrap.doctor.sshd_config_edit import Edit
from sshwrap.ssh.lines import bounded, clean

HOME = "/var/lib/sshwrap-doctor"
SECONDS = 60  # until a change that nobody proved is taken back
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?")
_PATH = re.compile(r"/[A-Za-z0-9_.@+/=,:-]*")  # what an Include takes without quotes or globs
_NONCE = re.compile(r"[0-9a-f]{8,64}")
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8,64}")
_KEYWORD = re.compile(r"[A-Za-z0-9]+")
_NOTHING = "^$"  # no line of `sshd -T` is empty
_SAID_LINES = 20


@dataclass(frozen=True, slots=True)
class Order:
    """One change of one file, and all that has to be known to make it and to take it back.

    Texts hold bytes that are no UTF-8 as surrogates ("surrogateescape"), line ends as in the file.
    `wanted`: keyword -> argument, as they have to be for `account`'s connection afterwards;
    `may_change`: the keywords of which the value may differ then; for others than the account only
    where `everybody`. `others`: accounts beside those of the server's passwd for which it is
    compared. `undoes`: the change that this one takes back, or "". `home` and `seconds` are for
    tests.
    """

    listening: Listening
    edit: Edit
    account: Criteria
    wanted: Mapping[str, str]
    may_change: tuple[str, ...]
    everybody: bool = False
    others: tuple[str, ...] = ()
    undoes: str = ""
    seconds: int = SECONDS
    home: str = HOME


def install_script(order: Order, nonce: str) -> bytes:
    """Everything up to the armed, installed and reloaded change; ValueError for a value that no
    script of ours can hold (a path with a space, a name that is none)."""
    values = _values(order)
    text = f"{values}\n{SHARED}"
    lines = [
        f"text={shlex.quote(text)}",
        f"text_before={shlex.quote(order.edit.before or '')}",
        f"text_after={shlex.quote(order.edit.after or '')}",
        f"nonce={_checked(_NONCE, nonce)}",
        f"seconds={int(order.seconds)}",
        'eval "$text"',
        INSTALL,
    ]
    return _framed(nonce, "\n".join(lines), "install")


def decide_script(change: str, decision: str, nonce: str, home: str = HOME) -> bytes:
    """`decision`: "confirm", or "now" to take it back now."""
    path = shlex.quote(f"{home}/{_checked(_ID, change)}/undo")
    # The file is the server's own, written by `install`; it is gone where that never got so far.
    text = f"decide() {{ if [ -f {path} ]; then sh {path} {decision}; else echo 'no late'; fi; }}"
    return _framed(nonce, text, "decide")


def last_script(nonce: str, home: str = HOME) -> bytes:
    """Asks for the last confirmed change."""
    text = f"home={shlex.quote(home)}\nnonce={_checked(_NONCE, nonce)}\n{LAST}"
    return _framed(nonce, text, "last")


def _framed(nonce: str, text: str, function: str) -> bytes:
    _checked(_NONCE, nonce)
    whole = f"main() {{\n{text}\necho 'begin {nonce}'\n{function}\necho 'end {nonce}'\n}}\nmain\n"
    return whole.encode("utf-8", "surrogateescape")


def _values(order: Order) -> str:
    edit, who, sshd = order.edit, order.account, order.listening
    kind = "create" if edit.before is None else "remove" if edit.after is None else "replace"
    names = [_checked(_KEYWORD, name).lower() for name in order.may_change]
    account_may = f"^({'|'.join(names)}) " if names else _NOTHING
    values = {
        "home": order.home,
        "kind": kind,
        "config": _checked(_PATH, sshd.config),
        "account": _checked(_NAME, who.user),
        "others": " ".join(_checked(_NAME, name) for name in order.others),
        "host": who.host,
        "address": who.address,
        "local_address": who.local_address,
        "local_port": str(int(who.local_port)),
        "port_hex": f"{int(who.local_port):04X}",
        "account_may": account_may,
        "others_may": account_may if order.everybody else _NOTHING,
        "wanted": "\n".join(
            f"{_checked(_KEYWORD, name).lower()} {argument}"
            for name, argument in order.wanted.items()
        ),
        "reloader": (sshd.reloader or Reloader.PIDFILE).value,
        "unit": _service(sshd),
        "undoes": _checked(_ID, order.undoes) if order.undoes else "",
    }
    path = shlex.quote(_checked(_PATH, edit.path))
    program = shlex.quote(_checked(_PATH, sshd.program))
    options, has_file = _options(sshd.arguments)
    own_file = f" -f {shlex.quote(sshd.config)}" if has_file else ""
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    # The text behind a link is what is edited; the link stays.
    for name, place in (("target", path), ("main_file", shlex.quote(sshd.config))):
        lines.append(f"{name}=$(readlink -f {place} 2>/dev/null) || {name}={place}")
    lines.append(f'run_sshd() {{ file=$1; shift; {program}{options} -f "$file" "$@"; }}')
    lines.append(f"start_sshd() {{ {program}{options}{own_file}; }}")
    return "\n".join(lines)


def _service(sshd: Listening) -> str:
    unit = sshd.unit or "ssh"
    if sshd.reloader in (Reloader.SYSTEMD, Reloader.SYSTEMD_SOCKET):
        return f"{unit.removesuffix('.socket').removesuffix('.service')}.service"
    return unit


def _options(arguments: Sequence[str]) -> tuple[str, bool]:
    """The -o of sshd's own command line, quoted; and whether it was given a file with -f."""
    kept, has_file = "", False
    words = iter(arguments)
    for word in words:
        if word.startswith("-f"):
            has_file = True
            if word == "-f":
                next(words, None)
        elif word.startswith("-o"):
            argument = word[2:] or next(words, "")
            kept += f" -o {shlex.quote(argument)}"
    return kept, has_file


def _checked(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f'"{clean(text)}" cannot be told to a script')
    return text


# --- answers ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """`steps`: what the server says it has done, in order ("baseline", "candidate", "armed",
    "installed", "reloaded"); `why`: the word behind which it stopped, "" where it did not; `said`:
    sshd's or the system's own words; `change`: what it calls the change; `undone`, `confirmed`:
    that it is. `is_whole` False: the line was cut before the end."""

    is_whole: bool
    steps: tuple[str, ...] = ()
    why: str = ""
    said: str = ""
    change: str = ""
    undone: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Last:
    """The last confirmed change of this server, and who it was for."""

    change: str
    edit: Edit
    account: str
    keywords: tuple[str, ...]
    everybody: bool


def read_answer(nonce: str, out: bytes) -> Answer:
    """The answer to `install_script` or `decide_script`."""
    lines, is_whole = _between(nonce, out)
    steps: list[str] = []
    said: list[str] = []
    why = change = ""
    words = {"undone": False, "confirmed": False}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "step":
            steps.append(clean(rest)[:40])
        elif word == "no":
            why, said = clean(rest)[:40], []
        elif word == "|":
            said.append(bounded(clean(rest.rstrip("\r")), 400))
        elif word == "change" and _ID.fullmatch(rest):
            change = rest
        elif line in words:
            words[line] = True
    return Answer(
        is_whole,
        tuple(steps[:10]),
        why,
        "\n".join(line for line in said[:_SAID_LINES] if line),
        change,
        words["undone"],
        words["confirmed"],
    )


def read_last(nonce: str, out: bytes) -> Last | Answer:
    """The answer to `last_script`; an Answer where there is none, or half a one."""
    lines, is_whole = _between(nonce, out)
    facts: dict[str, str] = {}
    texts: dict[str, list[str]] = {}
    begun = ""
    for line in lines:
        word, _, value = line.partition(" ")
        if begun and line == f"over {begun} {nonce}":
            begun = ""
        elif begun:
            texts[begun].append(line)
        elif word == "file" and value in (f"before {nonce}", f"after {nonce}"):
            begun = value.partition(" ")[0]
            texts[begun] = []
        else:
            facts[word] = value
    files = {name: "\n".join(text) for name, text in texts.items()}
    needed = {"change", "target", "kind", "account", "may", "others"}
    if not is_whole or not needed <= facts.keys() or not {"before", "after"} <= files.keys():
        return read_answer(nonce, out)
    kind = facts["kind"]
    edit = Edit(
        facts["target"],
        None if kind == "create" else files["before"],
        None if kind == "remove" else files["after"],
    )
    keywords = tuple(re.findall(r"[a-z0-9]+", facts["may"]))
    everybody = facts["others"] != _NOTHING
    return Last(facts["change"], edit, facts["account"], keywords, everybody)


def _between(nonce: str, out: bytes) -> tuple[list[str], bool]:
    lines = out.decode("utf-8", "surrogateescape").split("\n")
    begin, end = f"begin {nonce}", f"end {nonce}"
    if begin not in lines:
        return [], False
    lines = lines[lines.index(begin) + 1 :]
    return (lines[: lines.index(end)], True) if end in lines else (lines, False)
