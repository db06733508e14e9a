"""What is so on this machine: ssh, its configuration, keys, the agent, and what forwards point at.

Laws. Nothing is changed and nobody is asked for a secret. A target is connected to and never
written to. Whatever does not answer in its time is Unknown, with what was asked.
"""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sshwrap.doctor.facts import (
    Answer,
    ClientConfig,
    Connected,
    Fact,
    Identity,
    Known,
    Target,
    Unknown,
)
from sshwrap.doctor.key_file import (
    AGENT_MOST_BYTES,
    AGENT_REQUEST,
    READ_BYTES,
    agent_fingerprints,
    public_fingerprint,
    read_key,
)
from sshwrap.doctor.remote import Program, Pump
from sshwrap.errors import UserError
from sshwrap.ssh.argv import build_resolve_argv
from sshwrap.ssh.lines import bounded, clean
from sshwrap.ssh.mux import said_lines
from sshwrap.supervisor.network import numeric
from sshwrap.supervisor.program import find_ssh, ssh_environ, ssh_version
from sshwrap.supervisor.tcp import is_with_itself

if TYPE_CHECKING:
    from sshwrap.profile.forward import Forward
    from sshwrap.profile.model import Profile
    from sshwrap.ssh.version import Version
    from sshwrap.supervisor.errand import Done

CONFIG_SECONDS = 3.0  # a `Match exec` may take its time
AGENT_SECONDS = 0.5
TARGET_SECONDS = 2.0
GREETING_SECONDS = 0.3
NAME_SECONDS = 3.0
ADDRESSES_MOST = 8
_GREETING = b"SSH-2.0-"


def ask_version(ssh: str, environ: Mapping[str, str]) -> tuple[Fact[Version], str]:
    """The version, and the program's absolute path ("" where there is none)."""
    try:
        path = find_ssh(ssh, environ)
    except UserError as error:
        return Unknown(error.message, error.said or ""), ""
    try:
        return Known(ssh_version(path)), path
    except UserError as error:
        return Unknown(error.message, error.said or ""), path


def ask_config(
    pump: Pump,
    profile: Profile,
    ssh: str,
    environ: Mapping[str, str],
    added: tuple[Forward, ...],
) -> Fact[ClientConfig]:
    """`ssh -G`; `added`: the forwards that ssh_config adds, with file and line."""
    program = Program(
        pump,
        build_resolve_argv(profile, ssh=ssh),
        ssh_environ(environ),
        seconds=CONFIG_SECONDS,
        kept_bytes=READ_BYTES * 4,
    )
    pump.until(lambda: program.done is not None, CONFIG_SECONDS + 0.5)
    done = program.done
    if done is None or done.timed_out:
        return Unknown(f'"ssh -G" took more than {CONFIG_SECONDS:g} s')
    if done.status != 0:
        words = [line for line in said_lines(done.err) if not line.startswith("debug")]
        return Unknown("ssh refuses this configuration", words[-1] if words else "")
    values: dict[str, tuple[str, ...]] = {}
    for line in said_lines(done.out):
        keyword, _, argument = line.partition(" ")
        values[keyword.lower()] = (*values.get(keyword.lower(), ()), argument)
    port = _first(values, "port")
    return Known(
        ClientConfig(
            hostname=_first(values, "hostname") or profile.destination,
            user=_first(values, "user"),
            port=int(port) if port.isdecimal() else 22,
            values=values,
            forwards=added,
        )
    )


def _first(values: Mapping[str, tuple[str, ...]], keyword: str) -> str:
    return next(iter(values.get(keyword, ())), "")


# --- keys ----------------------------------------------------------------------------------------

# readconf.c:fill_default_options, of all versions
_DEFAULT_NAMES = {
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss"),
}


def ssh_home() -> str:
    """What `~` is to ssh, whatever HOME says (misc.c:tilde_expand); "" where nobody knows us."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def look_at_identities(
    config: ClientConfig, home: str, wanted: Sequence[str] = ()
) -> tuple[Identity, ...]:
    """The files that ssh would try, in its order. `home`: what `~` stands for; `wanted`: those of
    the profile, of which ssh -G leaves out what is not there."""
    plain = [path for path in wanted if "%" not in path and "$" not in path]
    named = [_expanded(path, home) for path in (*plain, *config.values.get("identityfile", ()))]
    return tuple(_identity(path, home) for path in dict.fromkeys(named))


def _expanded(path: str, home: str) -> str:
    return home + path[1:] if path == "~" or path.startswith("~/") else path


def _identity(path: str, home: str) -> Identity:
    file = Path(path)
    is_default = file.parent == Path(home, ".ssh") and file.name in _DEFAULT_NAMES
    beside = public_fingerprint(_content(Path(f"{path}.pub")) or b"")
    try:
        found = file.stat()
    except OSError:
        return Identity(path, not is_default, exists=False, fingerprint=beside)
    content = _content(file)
    is_encrypted, own = read_key(content) if content is not None else (None, None)
    return Identity(
        path,
        not is_default,
        exists=True,
        is_readable=content is not None,
        mode=stat.S_IMODE(found.st_mode),
        is_ours=found.st_uid == os.getuid(),
        is_encrypted=is_encrypted,
        # A .pub file may be named as the identity itself: its private part is the agent's.
        fingerprint=own or beside or public_fingerprint(content or b""),
    )


def _content(file: Path) -> bytes | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO of that name must not hang
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return os.read(descriptor, READ_BYTES)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def ask_agent(config: ClientConfig, environ: Mapping[str, str], home: str) -> Fact[tuple[str, ...]]:
    """The fingerprints of the keys that the agent holds which ssh would ask."""
    named = _first(config.values, "identityagent") or "SSH_AUTH_SOCK"
    if named == "none":
        return Unknown("ssh_config says IdentityAgent none")
    if named == "SSH_AUTH_SOCK":
        path = environ.get("SSH_AUTH_SOCK", "")
    elif named.startswith("$"):
        path = environ.get(named[1:].strip("{}"), "")
    else:
        path = _expanded(named, home)
    if not path:
        return Unknown("no agent runs here (SSH_AUTH_SOCK is not set)")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(AGENT_SECONDS)
            agent.connect(path)
            agent.sendall(AGENT_REQUEST)
            answer = _answer(agent)
    except OSError as error:
        return Unknown("the agent does not answer", f"{path}: {error.strerror or error}")
    found = agent_fingerprints(answer)
    return Unknown("the agent refuses to name its keys") if found is None else Known(found)


def _answer(agent: socket.socket) -> bytes:
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        chunk = agent.recv(65536)
        if not chunk or len(data) > AGENT_MOST_BYTES:
            break
        data += chunk
    return data


# --- what forwards point at ----------------------------------------------------------------------


class Targets:
    """A connect to each remote forward's connect end, all at the same time; nothing is written."""

    def __init__(self, pump: Pump, forwards: Iterable[Forward]) -> None:
        self._pump = pump
        self._tries = [
            (forward, Try(pump, forward.connect_host or "", forward.connect_port or 0))
            if forward.connect_path is None
            else (forward, PathTry(pump, forward.connect_path))
            for forward in forwards
            if not forward.is_socks
        ]

    @property
    def are_done(self) -> bool:
        return all(one.connected is not None for _, one in self._tries)

    def answers(self) -> tuple[Target, ...]:
        found = []
        for forward, one in self._tries:
            one.close()
            slow = Connected(Answer.TIMEOUT, TARGET_SECONDS)
            found.append(Target(forward, one.connected or slow, one.is_sshd))
        return tuple(found)


class _Connect:
    """One connection attempt; `connected` is set once it is over."""

    def __init__(self, pump: Pump, *, greeting_seconds: float = GREETING_SECONDS) -> None:
        self.connected: Connected | None = None
        self.is_sshd: bool | None = None
        self.greeting = b""
        self._pump = pump
        self._greeting_seconds = greeting_seconds
        self._begun = pump.now()
        self._socket: socket.socket | None = None
        self._last: Connected | None = None

    def start(
        self,
        family: int,
        where: object,
        within: float,
        on_failed: Callable[[Connected], None],
    ) -> None:
        loop = self._pump.loop
        try:
            made = socket.socket(family, socket.SOCK_STREAM)
            made.setblocking(False)
            error = made.connect_ex(where)  # type: ignore[arg-type]
        except OSError as failed:
            on_failed(self._outcome(failed.errno or errno.EIO))
            return
        self._socket = made
        if error not in (0, errno.EINPROGRESS):
            self.close()
            on_failed(self._outcome(error))
            return

        def too_late() -> None:
            self.close()
            on_failed(self._outcome(errno.ETIMEDOUT))

        timer = loop.call_later(within, too_late)

        def answered() -> None:
            timer.cancel()
            loop.remove_writer(made)
            error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error == 0 and family != socket.AF_UNIX and is_with_itself(made):
                error = errno.ECONNREFUSED
            if error == 0:
                self._await_greeting(made)
            else:
                self.close()
                on_failed(self._outcome(error))

        loop.add_writer(made, answered)

    def _await_greeting(self, made: socket.socket) -> None:
        answer = Connected(Answer.OPEN, self._pump.now() - self._begun)
        loop = self._pump.loop

        def over() -> None:
            timer.cancel()
            self.close()
            if self.greeting:
                self.is_sshd = self.greeting.startswith(_GREETING)
            self.connected = answer

        def read() -> None:
            try:
                data = made.recv(256)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self.greeting += data
            if not data or b"\n" in self.greeting or len(self.greeting) > 255:
                over()

        timer = loop.call_later(self._greeting_seconds, over)
        loop.add_reader(made, read)

    def _outcome(self, error: int) -> Connected:
        seconds = self._pump.now() - self._begun
        match error:
            case errno.ECONNREFUSED:
                answer = Answer.REFUSED
            case errno.ETIMEDOUT:
                answer = Answer.TIMEOUT
            case _:
                answer = Answer.NO_ROUTE
        return Connected(answer, seconds, os.strerror(error))

    def close(self) -> None:
        made, self._socket = self._socket, None
        if made is not None:
            self._pump.loop.remove_writer(made)
            self._pump.loop.remove_reader(made)
            made.close()


class Try(_Connect):
    """A host (a name is looked up by a program of its own, in its time) and a port."""

    def __init__(
        self,
        pump: Pump,
        host: str,
        port: int,
        *,
        seconds: float = TARGET_SECONDS,
        greeting_seconds: float = GREETING_SECONDS,
    ) -> None:
        super().__init__(pump, greeting_seconds=greeting_seconds)
        self._port = port
        self._until = pump.now() + seconds
        self._left: list[str] = []
        if _is_numeric(host, port):
            self._go([host])
        else:
            Lookup(pump, host, seconds=seconds, on_done=self._looked_up)

    def _looked_up(self, found: Fact[tuple[str, ...]]) -> None:
        if isinstance(found, Known) and found.value:
            self._go(list(found.value))
            return
        said = (found.said or found.reason) if isinstance(found, Unknown) else ""
        self.connected = Connected(Answer.UNRESOLVED, self._pump.now() - self._begun, said)

    def _go(self, addresses: list[str]) -> None:
        self._left = addresses[1:]
        family, where = numeric(addresses[0], self._port)
        within = max(0.0, self._until - self._pump.now()) / len(addresses)
        self.start(family, where, within, self._failed)

    def _failed(self, outcome: Connected) -> None:
        # Of several addresses the first refusal tells more than a later silence.
        if self._last is None or self._last.answer is not Answer.REFUSED:
            self._last = outcome
        if self._left:
            self._go(self._left)
        else:
            self.connected = self._last


class PathTry(_Connect):
    """A Unix socket."""

    def __init__(self, pump: Pump, path: str) -> None:
        super().__init__(pump)
        plain = path.replace("%%", "%")
        self.start(socket.AF_UNIX, plain, TARGET_SECONDS, self._failed)

    def _failed(self, outcome: Connected) -> None:
        self.connected = outcome


def _is_numeric(host: str, port: int) -> bool:
    with suppress(ValueError):
        numeric(host, port)
        return True
    return False


# --- names ---------------------------------------------------------------------------------------

# getaddrinfo has no timeout, and in a thread it would outlive us: so a program asks, which can be
# killed.
_LOOKUP = """
import socket, sys
try:
    found = socket.getaddrinfo(sys.argv[1], None, type=socket.SOCK_STREAM)
except (OSError, UnicodeError):
    sys.exit(3)
for one in found:
    print(one[4][0])
"""
_NO_ADDRESS = 3  # a status that no failing interpreter has


class Lookup:
    """The addresses of a name; `on_done` is called once, from the loop."""

    def __init__(
        self,
        pump: Pump,
        host: str,
        *,
        seconds: float = NAME_SECONDS,
        on_done: Callable[[Fact[tuple[str, ...]]], None] | None = None,
    ) -> None:
        import sys

        from sshwrap.supervisor.errand import Done, Errand

        self.addresses: Fact[tuple[str, ...]] | None = None

        def done(done: Done) -> None:
            self.addresses = read_addresses(host, done, seconds)
            if on_done is not None:
                on_done(self.addresses)

        argv: Sequence[str] = (sys.executable, "-IS", "-c", _LOOKUP, host)
        try:
            Errand(argv, os.environ, loop=pump.loop, deadline=seconds, on_done=done)
        except OSError as error:
            failed = Done(None, None, b"", str(error).encode())
            pump.loop.call_soon(done, failed)


def read_addresses(host: str, done: Done, seconds: float) -> Fact[tuple[str, ...]]:
    """Known and empty: whoever tells addresses here has none for it."""
    found = tuple(dict.fromkeys(said_lines(done.out)))[:ADDRESSES_MOST]
    if found:
        return Known(found)
    if done.timed_out:
        return Unknown(f'the name "{host}" was not found in {seconds:g} s')
    if done.status == _NO_ADDRESS:
        return Known(())
    said = said_lines(done.err)
    return Unknown("nobody could be asked for it", bounded(clean(said[-1]), 200) if said else "")
