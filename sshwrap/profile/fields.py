"""The parts of a spec, cut as ssh cuts them (fields, ports, `${VAR}`), and the ways to refuse one.

Law. Nothing here knows what a field is for; that is forward.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

SPACE = " \t\n\v\f\r"  # isspace() in the C locale


class ForwardError(ValueError):
    """The spec is not one that ssh would take, or one that ssh takes and nobody means.

    `str(error)` completes the sentence "profile.web.remote_forward[1]: …".
    """


class ForwardTrap(ForwardError):
    """ssh takes the spec, and would do something else with it than the person meant."""


@dataclass(frozen=True, slots=True)
class Field:
    text: str
    is_path: bool


def expand(spec: str, environ: Mapping[str, str]) -> str:
    """`${VAR}` as misc.c:dollar_expand has it: once, and unset is an error."""
    done, rest = "", spec
    while (start := rest.find("${")) >= 0:
        name, brace, after = rest[start + 2 :].partition("}")
        if not brace or not name:
            raise ForwardError(f'{quoted(spec)}: "${{" without a name and a "}}"')
        if name not in environ:
            raise ForwardError(f"{quoted(spec)}: environment variable ${{{name}}} is not set")
        done, rest = done + rest[:start] + environ[name], after
    return done + rest


def split_fields(text: str) -> tuple[list[Field], bool]:
    """At most four fields, as readconf.c:parse_fwd_field cuts them, and whether `text` ends in the
    middle: with a ":", or with a lone backslash after one.
    """
    fields: list[Field] = []
    rest, dangling = text, False
    while rest and len(fields) < 4:
        if rest[0] == "[":
            end = rest.find("]")
            if end < 0 or rest[end + 1 : end + 2] not in ("", ":"):
                raise ForwardError(f'{quoted(text)}: after "[…]" comes ":" or the end')
            fields.append(Field(rest[1:end], "/" in rest[1:end]))
            dangling = rest[end + 1 :] == ":"
            rest = rest[end + 2 :]
            continue
        if rest == "\\" and fields:
            return fields, True
        field, rest, dangling = _bare_field(text, rest)
        fields.append(field)
    if rest:
        raise ForwardError(f"{quoted(text)} has more than four parts{brackets_hint(text)}")
    if not fields:
        raise ForwardError(f"{quoted(text)} names no port")
    return fields, dangling


def _bare_field(text: str, rest: str) -> tuple[Field, str, bool]:
    taken, is_path, at = "", False, 0
    while at < len(rest) and rest[at] != ":":
        if rest[at] == "\\":
            at += 1
            if at == len(rest):
                raise ForwardError(f"{quoted(text)} ends with a backslash")
        elif rest[at] == "/":
            is_path = True
        taken += rest[at]
        at += 1
    return Field(taken, is_path), rest[at + 1 :], rest[at:] == ":"


def read_port(text: str, service_port: Callable[[str], int | None]) -> int | None:
    """misc.c:a2port: 0-65535 as strtoll(3) reads it ("+80", "080"), or a service name."""
    digits = text.lstrip(SPACE)
    sign, digits = (digits[:1], digits[1:]) if digits[:1] in ("+", "-") else ("", digits)
    if digits.isascii() and digits.isdigit():
        number = int(digits[-20:]) if not digits[:-20].strip("0") else 65536
        if number <= 65535 and (sign != "-" or number == 0):
            return number
    return service_port(text)


def order_hint(words: list[str], service_port: Callable[[str], int | None]) -> str:
    ports = [read_port(word, service_port) is not None for word in words]
    if len(words) == 2 and ports == [True, False]:
        return f"; the target needs a port: {words[0]}:{words[1]}:PORT"
    if len(words) == 3 and ports == [False, True, True]:
        return f"; write {words[0]}:{words[1]}:localhost:{words[2]}"
    return ""


def brackets_hint(text: str) -> str:
    if text.count(":") > 3 and "::" in text and "[" not in text:
        return "; an IPv6 address stands in brackets: [::1]"
    return ""


def quoted(text: str) -> str:
    return f'"{printable(text)}"'


def printable(text: str) -> str:
    """Control characters (and what else no terminal shows) made visible, for a message."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def is_control(char: str) -> bool:
    """C0, DEL and C1: what a terminal may obey."""
    return char < " " or "\x7f" <= char <= "\x9f"
