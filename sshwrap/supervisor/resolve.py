"""Profile -> Order: what ssh_config makes of the destination, by asking ssh itself (`ssh -G`).

Laws. ssh's configuration is parsed by ssh. A forward that ssh_config adds comes along with the
file and line it stands on. A configuration that ssh refuses is a fault now, not a tunnel that
never comes up.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from sshwrap.errors import ExitStatus, UserError
from sshwrap.profile.file import service_port
from sshwrap.profile.forward import (
    Forward,
    ForwardError,
    Kind,
    describe_listen,
    forwards_of_config,
    parse_forward,
)
from sshwrap.profile.listeners import why_both_cannot_be
from sshwrap.ssh.argv import build_resolve_argv
from sshwrap.ssh.lines import clean
from sshwrap.supervisor.order import Order
from sshwrap.supervisor.program import ssh_environ

if TYPE_CHECKING:
    from sshwrap.profile.model import Profile

TIMEOUT = 10.0  # `Match exec` and CanonicalizeHostname may take their time
AT_ONCE = 8


def resolve(
    profiles: Sequence[Profile],
    ssh: str,
    environ: Mapping[str, str],
    *,
    meanwhile: Callable[[], object] = lambda: None,
) -> list[Order]:
    """An Order for each, in the order given; raises UserError (BAD_CONFIG) with every fault.

    `meanwhile` is called once, while the first of them are being asked; its errors are raised.
    """
    orders: list[Order] = []
    faults: list[str] = []
    said: list[str] = []
    for start in range(0, len(profiles), AT_ONCE):
        some = profiles[start : start + AT_ONCE]
        asked = [(profile, _Asked(profile, ssh, environ)) for profile in some]
        if start == 0:
            try:
                meanwhile()
            except BaseException:
                for _, question in asked:
                    question.give_up()
                raise
        for profile, question in asked:
            try:
                orders.append(_read(profile, question, environ))
            except UserError as error:
                faults.append(error.message)
                if error.said:
                    said.append(error.said)
    if faults:
        raise UserError(
            "\n".join(faults), said="\n".join(said) or None, status=ExitStatus.BAD_CONFIG
        )
    return orders


def clashes(orders: Sequence[Order]) -> list[str]:
    """One line for each two of them that ask the same server for the same port or socket."""
    found: list[str] = []
    for at, one in enumerate(orders):
        for other in orders[at + 1 :]:
            if one.server != other.server:
                continue
            pair = next(
                (
                    (mine, theirs)
                    for mine in (*one.profile.forwards, *one.added)
                    for theirs in (*other.profile.forwards, *other.added)
                    if mine.kind is Kind.REMOTE
                    and mine.listen_port != 0
                    and why_both_cannot_be(mine, theirs)
                ),
                None,
            )
            if pair is not None:
                found.append(
                    f'{one.profile.name} and {other.profile.name}: "{pair[0].spec}" and '
                    f'"{pair[1].spec}" want the same port of {one.server}: only one can be up'
                )
    return found


class _Asked:
    """A running `ssh -G`, its answer in files: a program that `Match exec` leaves in the background
    would hold a pipe open long after ssh has ended."""

    def __init__(self, profile: Profile, ssh: str, environ: Mapping[str, str]) -> None:
        self._out = TemporaryFile()  # noqa: SIM115 - both are closed by `give_up`
        self._err = TemporaryFile()  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                build_resolve_argv(profile, ssh=ssh),
                env=ssh_environ(environ),
                stdin=subprocess.DEVNULL,
                stdout=self._out,
                stderr=self._err,
            )
        except OSError as error:
            self._close()
            raise UserError(
                f'"{ssh}" cannot be run', said=str(error), status=ExitStatus.NO_SSH
            ) from None

    def answer(self) -> tuple[bytes, bytes]:
        """stdout and stderr, once ssh has ended; raises TimeoutExpired."""
        try:
            self.process.wait(TIMEOUT)
            self._out.seek(0)
            self._err.seek(0)
            return self._out.read(), self._err.read()
        finally:
            self.give_up()

    def give_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._close()

    def _close(self) -> None:
        self._out.close()
        self._err.close()


def _read(profile: Profile, asked: _Asked, environ: Mapping[str, str]) -> Order:
    name = profile.name
    try:
        out, err = asked.answer()
    except subprocess.TimeoutExpired:
        raise UserError(
            f'{name}: "ssh -G" took more than {TIMEOUT:g} s (a "Match exec" of ssh_config?)'
        ) from None
    talk = err.decode(errors="replace").splitlines()
    if asked.process.returncode != 0:
        words = [clean(line) for line in talk if not line.startswith("debug")]
        words = [line for line in words if not line.startswith(("OpenSSH_", "Pseudo-terminal"))]
        raise UserError(f"{name}: ssh refuses this configuration", said="\n".join(words[-4:]))
    lines = out.decode(errors="replace").splitlines()
    values = {key: value for key, _, value in (line.partition(" ") for line in reversed(lines))}
    added = _added(profile, lines, talk, environ)
    if not profile.forwards and not added:
        raise UserError(
            f"{name}: nothing to forward: the profile has none, and ssh_config adds none for "
            f'"{profile.destination}"'
        )
    hostname = values.get("hostname", profile.destination)
    server = f"{hostname}:{values.get('port', '22')}"
    if values.get("proxyjump", "none") != "none":
        # Those who come through one jump host share its address at the server, and its sshd.
        server = f"{values['proxyjump']} {server}"
    return Order(profile, added, hostname, server, environ.get("SSH_AUTH_SOCK"))


def _added(
    profile: Profile, lines: Iterable[str], talk: Iterable[str], environ: Mapping[str, str]
) -> tuple[Forward, ...]:
    found = forwards_of_config(lines)
    if not found:
        return ()
    places = _forward_lines(talk, environ)
    own = {(f.kind, describe_listen(f)): f for f in profile.forwards}
    added: list[Forward] = []
    for forward in found:
        twin = own.get((forward.kind, describe_listen(forward)))
        if twin is not None and _same(twin, forward):
            continue  # ssh drops a forward that it already has (readconf.c:add_remote_forward)
        source = next((place for known, place in places if _same(known, forward)), "ssh_config")
        if twin is not None:
            raise UserError(
                f'{profile.name}: "{twin.spec}" of the profile and "{forward.spec}" of {source} '
                "ask for the same listener, and ssh would end over it"
            )
        added.append(replace(forward, source=source))
    return tuple(added)


def _same(one: Forward, other: Forward) -> bool:
    return replace(one, spec="", source="") == replace(other, spec="", source="")


_KEYWORDS = {f"{kind.value}forward": kind for kind in Kind}


def _forward_lines(talk: Iterable[str], environ: Mapping[str, str]) -> list[tuple[Forward, str]]:
    """Every forward that stands in the files ssh says it has read, with "FILE:LINE".

    Only to name the place: which of them apply here is ssh's answer, not ours.
    """
    mark = "debug1: Reading configuration data "
    files = [line.removeprefix(mark).strip() for line in talk if line.startswith(mark)]
    found: list[tuple[Forward, str]] = []
    for file in dict.fromkeys(files):
        try:
            text = Path(file).read_text(errors="replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            forward = _forward_line(line, environ)
            if forward is not None:
                found.append((forward, f"{_short(file, environ)}:{number}"))
    return found


def _forward_line(line: str, environ: Mapping[str, str]) -> Forward | None:
    """`RemoteForward 8080 localhost:80` as the forward it is, or None."""
    keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
    kind = _KEYWORDS.get(keyword.lower())
    if kind is None:
        return None
    spec = ":".join(word.strip('"') for word in rest.split()[:2])
    try:
        return parse_forward(kind, spec, environ=environ, service_port=service_port)
    except ForwardError:
        return None


def _short(path: str, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    return "~" + path.removeprefix(home) if home and path.startswith(home + "/") else path
