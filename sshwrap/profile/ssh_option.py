"""One `-o` of ssh(1), in any of its spellings, and what becomes of it in a profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sshwrap.errors import ExitStatus, UserError
from sshwrap.profile.fields import printable
from sshwrap.profile.keywords import PROFILE_KEYS, REFUSED, find_keyword, why_refused

_SPACE = " \t"

# What a tunnel does anyway: dropped without a word where it asks for that, else with the reason.
_SAME = {
    "BatchMode": ("yes",),
    "ClearAllForwardings": ("no",),
    "ControlMaster": ("no",),
    "ControlPath": ("none",),
    "ControlPersist": ("no",),
    "ExitOnForwardFailure": ("yes",),
    "ForkAfterAuthentication": ("no",),
    "ForwardAgent": ("no",),
    "ForwardX11": ("no",),
    "ForwardX11Trusted": ("no",),
    "LocalCommand": ("none",),
    "PermitLocalCommand": ("no",),
    "RemoteCommand": ("none",),
    "RequestTTY": ("no",),
    "SessionType": ("none",),
    "StdinNull": ("yes",),
    "Tunnel": ("no",),
}

# Where dropping it would leave out what was the point of the command.
_NOT_DROPPED = ("ClearAllForwardings", "LocalCommand", "RemoteCommand", "Tunnel", "TunnelDevice")
_IN_A_FILE = ("Host", "Include", "Match")


@dataclass(frozen=True, slots=True)
class Kept:
    """One of the four at most: a forward (key, spec), an identity file, a key of the profile with
    its value, or a keyword and argument for ssh_options. `note` says what was dropped and why.
    """

    forward: tuple[str, str] | None = None
    identity_file: str | None = None
    key: tuple[str, Any] | None = None
    option: tuple[str, str] | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """A keyword as it was written, and its argument, unquoted only where we read it ourselves."""

    keyword: str
    argument: str

    def as_integer(self, shown: str) -> int:
        text = unquote(self.argument)
        if text.isascii() and text.isdigit():
            return int(text[:12])
        raise _usage(f'{shown}: "{printable(text)}" is no number')

    def as_seconds(self, shown: str) -> int:
        """TIME FORMATS of sshd_config(5): 90, 90s, 1m30s, 2h."""
        total, digits = 0, ""
        for char in f"{unquote(self.argument).lower()}\n":
            if char.isascii() and char.isdigit():
                digits += char
                continue
            unit = {"\n": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}.get(char)
            if unit is None or (not digits and char != "\n"):
                raise _usage(f'{shown}: "{printable(self.argument)}" is no time')
            total += int(digits[:12] or "0") * unit
            digits = ""
        return total


def split_option(text: str) -> Option:
    """`Key=value`, `Key value`, `Key = value` (readconf.c:strdelim, misc.c)."""
    stripped = text.strip(f"{_SPACE}\r\n\f")
    end = next((at for at, char in enumerate(stripped) if char in f"{_SPACE}="), len(stripped))
    argument = stripped[end:].lstrip(_SPACE)
    if argument.startswith("="):
        argument = argument[1:].lstrip(_SPACE)
    if not stripped[:end] or not argument:
        raise _usage(f'-o "{printable(text)}" is no KEYWORD=ARGUMENT')
    return Option(stripped[:end], argument)


def read_option(text: str) -> Kept:
    """Raises UserError (USAGE) for what no tunnel can keep."""
    option = split_option(text)
    keyword = find_keyword(option.keyword) if "_" not in option.keyword else None
    if keyword is None:
        return Kept(option=(option.keyword, option.argument))  # make_profile has a hint for typos
    shown = f"-o {keyword}"
    if keyword in PROFILE_KEYS:
        return _read_profile_key(keyword, option, shown)
    if keyword in REFUSED:
        return _read_refused(keyword, option, shown)
    if (reason := why_refused(keyword, unquote(option.argument))) is not None:
        raise _usage(f"{shown}: {reason}")
    return Kept(option=(keyword, option.argument))


def unquote(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _read_profile_key(keyword: str, option: Option, shown: str) -> Kept:
    key = PROFILE_KEYS[keyword]
    if key.endswith("_forward"):
        # readconf.c:parse_keyword joins its two words with ":" and reads that as -R and -L do
        words = option.argument.split()
        if len(words) > 2:
            raise _usage(f'{shown}: "{printable(option.argument)}" has more than two parts')
        return Kept(forward=(key, ":".join(map(unquote, words))))
    if key == "identity_file":
        return Kept(identity_file=unquote(option.argument))
    if key == "port":
        return Kept(key=(key, option.as_integer(shown)))
    if key in ("user", "proxy_jump"):
        return Kept(key=(key, unquote(option.argument)))
    if key == "connect_timeout" and unquote(option.argument) == "none":
        return Kept(note=f"{shown}=none: dropped: a try has to end; connect_timeout is 10")
    seconds = (
        option.as_integer(shown) if key == "server_alive_count_max" else option.as_seconds(shown)
    )
    if seconds == 0:
        return Kept(note=f"{shown}=0: dropped: {_zero(key)}")
    return Kept(key=(key, seconds))


def _zero(key: str) -> str:
    from sshwrap.profile.keys import BY_NAME

    return f"{BY_NAME[key].below}; it is {BY_NAME[key].default}"


def _read_refused(keyword: str, option: Option, shown: str) -> Kept:
    value = unquote(option.argument)
    if value.lower() in _SAME.get(keyword, ()):
        return Kept()
    if keyword in _NOT_DROPPED or keyword in _IN_A_FILE:
        raise _usage(f"{shown}: {REFUSED[keyword]}")
    return Kept(note=f"{shown}={printable(value)}: dropped: {REFUSED[keyword]}")


def _usage(message: str) -> UserError:
    return UserError(message, status=ExitStatus.USAGE)
