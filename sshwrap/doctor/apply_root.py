"""Scripts run as root on the server: as root itself, by sudo, or by sudo with a password.

Laws. A password is asked for once, goes over the encrypted connection as part of a script's text,
and stands in no argv, environment, file or log: the shell that reads it hands it on by its own
printf. It can never be run as a command, also where sudo does not ask for it. A wrong one is said,
and not tried again: three of them lock an account on many servers.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from sshwrap.doctor.facts import Rights
from sshwrap.doctor.line import Line, Ran
from sshwrap.ssh.lines import bounded, clean

AskPassword = Callable[[str], str | None]  # the prompt -> what was typed; None: given up
SUDO_SECONDS = 20.0  # sudo waits two seconds after a wrong password, and some ask a directory
_PRINTABLE = re.compile(r"[^\x00\n\r]+")


class Root(Protocol):
    """Runs scripts as root."""

    def run(self, script: bytes, deadline: float) -> Ran:
        """`script` is POSIX sh; `deadline` in seconds from now."""
        ...


@dataclass(frozen=True, slots=True)
class NoRoot:
    """`reason` for a screen, as it stands behind "not as root: "; `said`: sudo's own words."""

    reason: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Direct:
    """Root signed in, or sudo does not ask: `command` takes the script on its standard input."""

    line: Line
    command: str

    def run(self, script: bytes, deadline: float) -> Ran:
        return self.line.run(self.command, script, deadline)


@dataclass(frozen=True, slots=True)
class WithPassword:
    """sudo asks; `password` is right, and known to this object alone."""

    line: Line
    password: str
    nonce: str

    def run(self, script: bytes, deadline: float) -> Ran:
        return self.line.run("sh -s", _with_password(self.password, script, self.nonce), deadline)

    def __repr__(self) -> str:  # a traceback is no place for it
        return f"WithPassword({self.line!r})"


def become_root(
    line: Line, rights: Rights | None, ask: AskPassword | None, nonce: str, *, user: str = ""
) -> Root | NoRoot:
    """How this account runs scripts as root. `ask` None: nobody is there to be asked. `rights` None
    (not known): sudo is tried, without asking anybody. `nonce` is hexadecimal."""
    if rights is Rights.ROOT:
        return Direct(line, "sh -s")
    if rights is Rights.NONE:
        return NoRoot("the account is not root, and may not use sudo")
    tried = line.run("sudo -n sh -s", f"echo root {nonce}\n".encode(), SUDO_SECONDS)
    if f"root {nonce}".encode() in tried.out:
        return Direct(line, "sudo -n sh -s")
    said = _words(tried)
    if "must have a tty" in said:
        return NoRoot("sudo there wants a terminal (requiretty)", said)
    if "password" not in said.lower():
        return NoRoot("sudo there does not let this account become root", said)
    return _by_password(line, ask, nonce, user, said)


def _by_password(
    line: Line, ask: AskPassword | None, nonce: str, user: str, said: str
) -> Root | NoRoot:
    if ask is None:
        return NoRoot("sudo asks for a password, and nobody is there to type it", said)
    password = ask(f"[sudo] password for {user}: " if user else "[sudo] password: ")
    if not password:
        return NoRoot("no password was given")
    if not _PRINTABLE.fullmatch(password):
        return NoRoot("the password has characters that no line can hold")
    tried = line.run("sh -s", _check_of(password, nonce), SUDO_SECONDS)
    answer = tried.out.decode("utf-8", "replace").split()
    if f"right-{nonce}" in answer:
        return WithPassword(line, password, nonce)
    if f"shell-{nonce}" in answer:
        return NoRoot("the account's sh has no printf of its own to hand a password on by")
    said = _words(replace(tried, out=b""))
    if "must have a tty" in said:
        return NoRoot("sudo there wants a terminal (requiretty)", said)
    if "may not run" in said or "not in the sudoers" in said or "not allowed" in said:
        return NoRoot("sudo there does not let this account become root", said)
    if tried.timed_out:
        return NoRoot("sudo did not answer", said)
    return NoRoot("sudo did not take the password; it was tried once", said)


# `sudo -v` runs no command: whatever it does with its standard input, nothing there is obeyed. The
# end of the input after one line leaves no second try. A printf that is a program would show the
# password in its argv.
_CHECK = r"""
main() {
    case $(command -v printf) in */* | '') echo "shell-$nonce"; return ;; esac
    if printf '%s\n' "$password" | sudo -S -p '' -v; then echo "right-$nonce"; fi
}
main
"""

# Where sudo has not asked, the first line that the inner shell reads is the password: it reads, and
# obeys nothing until the line that only we know.
_RUN = r"""
inner='while IFS= read -r line; do [ "$line" = '$nonce' ] && exec sh -s; done; exit 97'
main() {
    if sudo -n true 2>/dev/null; then
        printf '%s' "$script" | sudo -n sh -s
    else
        printf '%s\n%s\n%s' "$password" "$nonce" "$script" | sudo -S -p '' sh -c "$inner"
    fi
}
main
"""


def _check_of(password: str, nonce: str) -> bytes:
    return _text(f"nonce={nonce}\npassword={shlex.quote(password)}\n{_CHECK}")


def _with_password(password: str, script: bytes, nonce: str) -> bytes:
    text = shlex.quote(script.decode("utf-8", "surrogateescape"))
    return _text(f"nonce={nonce}\npassword={shlex.quote(password)}\nscript={text}\n{_RUN}")


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _words(ran: Ran) -> str:
    text = (ran.err + b"\n" + ran.out).decode("utf-8", "replace")
    lines = [clean(line).strip() for line in text.splitlines()]
    return bounded("; ".join(line for line in lines if line), 400)
