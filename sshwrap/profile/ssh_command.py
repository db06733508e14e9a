"""An ssh or autossh command line -> a profile: what `sshwrap run` puts its name before.

Laws. Every word is carried over, or dropped with a note that says why, or refused: nothing is lost
in silence. What decides about a tunnel is decided by the profile's own rules, not again here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sshwrap.errors import ExitStatus, UserError
from sshwrap.profile.destination import DestinationError, parse_destination
from sshwrap.profile.fields import printable
from sshwrap.profile.model import NAME_MAX, Fault, Profile, make_profile
from sshwrap.profile.ssh_flags import (
    AS_OPTION,
    DROPPED,
    REFUSED,
    TAKES_VALUE,
    VALUE_OF,
    WITHOUT_VALUE,
    autossh_note,
)
from sshwrap.profile.ssh_option import Option, read_option


@dataclass(frozen=True, slots=True)
class Parsed:
    """`notes`: a line for every word that was understood and not carried over, and for traps.

    `given`: the profile's keys that the words set. `gateway_ports`: -g stood beside a -R.
    """

    profile: Profile
    notes: tuple[str, ...]
    given: frozenset[str] = frozenset()
    gateway_ports: bool = False


def parse_command(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    service_port: Callable[[str], int | None],
    cwd: str,
    name: str | None = None,
) -> Parsed:
    """Raises UserError (USAGE) for what cannot be kept, with every fault of the profile.

    `argv` may begin with `ssh` or `autossh` (or a path to one, after NAME=VALUE words) or with the
    first option. `name` None: named after the host; whether another has that name is the caller's.
    """
    words = _Words(argv)
    words.read_program(environ)
    words.read_options()
    destination = words.destination
    if destination is None:
        raise _usage("no destination: end with USER@HOST", "sshwrap run ssh -R … USER@HOST")
    table = words.table()
    made = make_profile(
        name if name is not None else name_after(destination),
        table,
        file_dir=cwd,
        environ=environ,
        service_port=service_port,
        profiles_file=None,
    )
    if not isinstance(made, Profile):
        raise _usage("\n".join(_as_written(fault, table) for fault in made))
    is_for_all = words.gateway_ports and "remote_forward" in words.forwards
    return Parsed(made, tuple(dict.fromkeys(words.notes)), frozenset(table), is_for_all)


def name_after(destination: str) -> str:
    """`vps` for root@vps.example.com; an address stays whole; made to obey the rule of names."""
    try:
        host = parse_destination(destination).host
    except DestinationError:
        return "tunnel"  # the destination's own fault will be told
    label = host if host.replace(".", "").isdigit() else host.partition(".")[0]
    legal = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in label)
    return legal.strip("._-")[:NAME_MAX] or "tunnel"


# ---- the words, one after another ---------------------------------------------------------------


@dataclass
class _Words:
    """ssh.c:main's loop over getopt(3), with the same idea of where a value is."""

    argv: Sequence[str]
    at: int = 0
    is_autossh: bool = False
    destination: str | None = None
    notes: list[str] = field(default_factory=list)
    forwards: dict[str, list[str]] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    options: dict[str, list[str]] = field(default_factory=dict)
    identity_file: list[str] = field(default_factory=list)
    gateway_ports: bool = False

    def read_program(self, environ: Mapping[str, str]) -> None:
        variables = {key for key in environ if key.startswith("AUTOSSH_")}
        if self._peek() == "--":
            self.at += 1
        if self._peek() == "env":
            self.at += 1
        while (word := self._peek()) is not None and _is_assignment(word):
            key, _, value = word.partition("=")
            if not key.startswith("AUTOSSH_"):
                raise _usage(
                    f'"{printable(word)}": sshwrap sets no environment for ssh',
                    f"put it before sshwrap: {key}={value or '…'} sshwrap run …",
                )
            variables.add(key)
            self.at += 1
        program = (self._peek() or "").rpartition("/")[2]
        if program in ("ssh", "autossh"):
            self.is_autossh = program == "autossh"
            self.at += 1
        if self.is_autossh:
            self.notes += [autossh_note(variable) for variable in sorted(variables)]

    def read_options(self) -> None:
        """Options may stand before and after the destination; `--` ends them."""
        while (word := self._peek()) is not None:
            if word == "--":
                self.at += 1
                self._read_rest()
                return
            if len(word) > 1 and word.startswith("-"):
                self.at += 1
                self._read_cluster(word[1:])
            elif self.destination is None:
                self.destination = word
                self.at += 1
            else:
                self._read_rest()

    def table(self) -> dict[str, Any]:
        """The table that a profiles.toml would have."""
        if self.gateway_ports:
            self._keep_gateway_ports()
        table: dict[str, Any] = {"destination": self.destination, **self.forwards, **self.keys}
        if self.identity_file:
            table["identity_file"] = self.identity_file
        if self.options:
            table["ssh_options"] = self.options
        return table

    def _peek(self) -> str | None:
        return self.argv[self.at] if self.at < len(self.argv) else None

    def _read_rest(self) -> None:
        rest = list(self.argv[self.at :])
        if self.destination is None and rest:
            self.destination = rest.pop(0)
        if rest:
            raise _usage(
                f'"{printable(" ".join(rest))}": a tunnel runs no command on the server',
                "leave it out",
            )
        self.at = len(self.argv)

    def _read_cluster(self, letters: str) -> None:
        """`NTfvR` with its value behind it, or glued: `p2222`."""
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter == "M":
                letters = self._read_monitor(letters)
            elif letter in TAKES_VALUE:
                self._take(letter, letters or self._value(letter))
                return
            elif letter in REFUSED:
                raise _usage(f"-{letter}: {REFUSED[letter]}")
            elif letter == "g":
                self.gateway_ports = True
            elif letter in AS_OPTION:
                for keyword, value in AS_OPTION[letter]:
                    self._refuse_two(letter, self._first(keyword), value)
                    self._keep_option(keyword, value)
            elif letter in WITHOUT_VALUE:
                self._drop(letter)
            else:
                raise _usage(f'"-{printable(letter)}" is no option of ssh')

    def _value(self, letter: str) -> str:
        value = self._peek()
        if value is None:
            raise _usage(f"-{letter}: no value after it")
        self.at += 1
        return value

    def _read_monitor(self, glued: str) -> str:
        """-M is autossh's monitoring port, or ssh's "be a master" (which takes no value)."""
        following = self._peek() or ""
        if self.is_autossh or glued[:1].isdigit() or (not glued and _is_monitor(following)):
            port = glued or self._value("M")
            self.notes.append(f"-M {port}: dropped: ssh's own keepalive watches the line")
            return ""
        self.notes.append(f"-M: dropped: {DROPPED['M']}")
        return glued

    def _drop(self, letter: str) -> None:
        if reason := DROPPED[letter]:
            self.notes.append(f"-{letter}: dropped: {reason}")

    def _take(self, letter: str, value: str) -> None:
        if letter in ("R", "L", "D"):
            key = {"R": "remote_forward", "L": "local_forward", "D": "dynamic_forward"}[letter]
            self.forwards.setdefault(key, []).append(value)
        elif letter == "i":
            self.identity_file.append(value)
        elif letter == "o":
            self._read_option(value)
        elif letter in REFUSED:
            raise _usage(f"-{letter} {printable(value)}: {REFUSED[letter]}")
        elif letter in DROPPED:
            self.notes.append(f"-{letter} {printable(value)}: dropped: {DROPPED[letter]}")
        elif letter == "p":
            self._keep_key("port", Option("p", value).as_integer("-p"))
        elif letter == "l":
            self._keep_key("user", value)
        elif letter in ("J", "F"):
            key = {"J": "proxy_jump", "F": "ssh_config"}[letter]
            self._refuse_two(letter, self.keys.get(key), value)
            self._keep_key(key, value)
        else:
            keyword = VALUE_OF[letter]
            self._refuse_two(letter, self._first(keyword), value)
            self._keep_option(keyword, value)

    def _read_option(self, text: str) -> None:
        kept = read_option(text)
        if kept.note:
            self.notes.append(kept.note)
        if kept.forward is not None:
            self.forwards.setdefault(kept.forward[0], []).append(kept.forward[1])
        elif kept.identity_file is not None:
            self.identity_file.append(kept.identity_file)
        elif kept.key is not None:
            self._keep_key(*kept.key)
        elif kept.option is not None:
            self._keep_option(*kept.option)

    def _keep_key(self, key: str, value: Any) -> None:
        if self.keys.setdefault(key, value) != value:
            self._note_later(key, value, self.keys[key])

    def _keep_option(self, keyword: str, value: str) -> None:
        given = self.options.setdefault(keyword, [])
        if not given or (keyword.lower() in MANY and value not in given):
            given.append(value)
        elif value not in given:
            self._note_later(keyword, value, given[0])

    def _note_later(self, what: str, value: object, first: object) -> None:
        self.notes.append(
            f'{what} "{printable(str(value))}": dropped: "{printable(str(first))}" came first'
        )

    def _first(self, keyword: str) -> str | None:
        return next(iter(self.options.get(keyword, ())), None)

    def _refuse_two(self, letter: str, there: object, value: str) -> None:
        """Of most options ssh takes the first; of these the last, or it refuses them itself."""
        if there is not None and there != value:
            raise _usage(f'-{letter}: both "{printable(str(there))}" and "{printable(value)}"')

    def _keep_gateway_ports(self) -> None:
        if "remote_forward" in self.forwards:
            self.notes.append(GATEWAY_NOTE)
        if self.forwards.keys() != {"remote_forward"}:
            self._keep_option("GatewayPorts", "yes")


GATEWAY_NOTE = (
    "-g has no effect on -R, it is for -L and -D; for everybody write -R '*:PORT:…'"
    " (and the server's GatewayPorts must allow it)"
)

# Keywords that ssh collects; of every other the first value wins (ssh_config(5)).
MANY = ("certificatefile", "sendenv", "setenv")


def _is_assignment(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def _is_monitor(word: str) -> bool:
    """`0`, `20000`, `20000:7`."""
    port, _, echo = word.partition(":")
    return port.isdigit() and (not echo or echo.isdigit())


_FLAGS = {
    "remote_forward": "-R",
    "local_forward": "-L",
    "dynamic_forward": "-D",
    "identity_file": "-i",
    "port": "-p",
    "user": "-l",
    "proxy_jump": "-J",
    "ssh_config": "-F",
}


def _as_written(fault: Fault, table: Mapping[str, Any]) -> str:
    """The fault with the word of the command line, not with the key of a file."""
    if not fault.path or fault.path == ("destination",):
        return fault.message
    key = str(fault.path[0])
    if key == "ssh_options":
        return f"-o {fault.path[1]}: {fault.message}" if len(fault.path) > 1 else fault.message
    value = table.get(key)
    if isinstance(value, list) and len(fault.path) > 1 and isinstance(fault.path[1], int):
        value = value[fault.path[1]]
    return f"{_FLAGS.get(key, key)} {printable(str(value))}: {fault.message}"


def _usage(message: str, advice: str | None = None) -> UserError:
    return UserError(message, advice=advice, status=ExitStatus.USAGE)
