"""What is known of this machine, the way, the account and the server: Known, or Unknown and why.

Laws. Whoever gathers records and never concludes; whoever judges asks nobody. A question that
could not be asked is Unknown with its reason, which stands on a screen behind "unknown, because";
there is no third thing and no default that looks like an answer. What a server printed is data:
cleaned and bounded before it comes in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from sshwrap.doctor.sshd_config import Origin
from sshwrap.profile.forward import Forward
from sshwrap.ssh.failure import Failure
from sshwrap.ssh.look import Listener
from sshwrap.ssh.version import Version
from sshwrap.tunnel.reach import Reach

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class Unknown:
    """`reason` as it stands behind "unknown, because"; `said`: somebody's own words, or ""."""

    reason: str
    said: str = ""


Fact = Known[T] | Unknown

NOT_ASKED = Unknown("it was not asked")


def value_of(fact: Fact[T]) -> T | None:
    """The value, or None where it is not known."""
    return fact.value if isinstance(fact, Known) else None


class Answer(StrEnum):
    """What one TCP connect came to."""

    OPEN = "open"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    NO_ROUTE = "no_route"
    UNRESOLVED = "unresolved"  # the name has no address


@dataclass(frozen=True, slots=True)
class Connected:
    """`seconds`: how long it took; `said`: the system's words where it did not succeed."""

    answer: Answer
    seconds: float
    said: str = ""


# --- here ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key file that ssh would try. `mode` in octal terms (0o600)."""

    path: str
    from_profile: bool  # named by profile or ssh_config, not one of ssh's default names
    exists: bool
    is_readable: bool = False
    mode: int | None = None
    is_ours: bool = True  # the file's owner is who runs this (ssh checks the mode only then)
    is_encrypted: bool | None = None  # None: not to be told
    fingerprint: str | None = None  # "SHA256:…", of the .pub beside it or of the key itself


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What `ssh -G` says for this destination: keywords in lower case, every line of each."""

    hostname: str
    user: str
    port: int
    values: Mapping[str, tuple[str, ...]]
    forwards: tuple[Forward, ...] = ()  # what ssh_config adds; `source` names file and line


@dataclass(frozen=True, slots=True)
class Target:
    """What a forward's connect end points at, tried from this machine."""

    forward: Forward
    connected: Connected
    is_sshd: bool | None = None  # it greeted with "SSH-2.0-"; None: it said nothing


@dataclass(frozen=True, slots=True)
class Here:
    ssh: Fact[Version] = NOT_ASKED
    config: Fact[ClientConfig] = NOT_ASKED
    identities: Fact[tuple[Identity, ...]] = NOT_ASKED
    agent: Fact[tuple[str, ...]] = NOT_ASKED  # fingerprints that it holds; Unknown: no agent
    targets: Fact[tuple[Target, ...]] = NOT_ASKED
    fault: str = ""  # why `up` would refuse it before anything is tried
    profiles_at_server: int = 1  # how many profiles of the file go to this server


# --- path ------------------------------------------------------------------------------------


class HostKeyState(StrEnum):
    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class HostKey:
    """`fingerprint`: "SHA256:… (ED25519)" of the key that the server showed; `place`: "FILE:LINE"
    of the known_hosts entry that disagrees."""

    state: HostKeyState
    fingerprint: str = ""
    place: str = ""
    name: str = ""  # as known_hosts has it: "host", "[host]:port"


@dataclass(frozen=True, slots=True)
class Way:
    """The way to the server. Through a jump host nothing but the host key can be seen from here."""

    by_tunnel: bool = False  # the running tunnel came this way: TCP, greeting and host key are fine
    jump: str | None = None  # ProxyJump or ProxyCommand, as ssh -G says it
    addresses: Fact[tuple[str, ...]] = NOT_ASKED
    tcp: Fact[Connected] = NOT_ASKED
    banner: Fact[str] = NOT_ASKED  # "SSH-2.0-OpenSSH_9.2p1 Debian-2", or whatever it said instead
    host_key: Fact[HostKey] = NOT_ASKED
    round_trip: Fact[float] = NOT_ASKED  # seconds


# --- account ---------------------------------------------------------------------------------


class Rights(StrEnum):
    """How this account can do something as root."""

    ROOT = "root"  # it is root
    SUDO = "sudo"  # `sudo -n` works
    SUDO_PASSWORD = "sudo_password"  # noqa: S105 - in sudo, wheel or admin; it asks for a password
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SignIn:
    """`failure` None: it worked. `method` is what ssh says it was ("publickey")."""

    failure: Failure | None
    method: str = ""
    over_tunnel: bool = False  # asked over the running tunnel's control socket: no new sign-in


@dataclass(frozen=True, slots=True)
class Shell:
    """The account's session, as far as one was had."""

    user: str
    uid: int
    groups: tuple[str, ...]
    shell: str  # of passwd, "" where it is not to be seen
    client: tuple[str, int] | None  # SSH_CONNECTION: where the server sees us come from
    server: tuple[str, int] | None  # and the address and port that we came to
    system: str = ""  # `uname -s`
    os_release: str = ""  # PRETTY_NAME
    home_is_writable: bool | None = None
    now: str = ""  # the server's own date


@dataclass(frozen=True, slots=True)
class Account:
    sign_in: Fact[SignIn] = NOT_ASKED
    key_options: Fact[tuple[str, ...]] = NOT_ASKED  # "key options:" of ssh -v; () where it has none
    shell: Fact[Shell] = NOT_ASKED  # Unknown: nologin, forced command, no session …
    rights: Fact[Rights] = NOT_ASKED


# --- server ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Software:
    """The server's program by its banner."""

    text: str  # "OpenSSH_9.2p1 Debian-2+deb12u3", "dropbear_2022.83"
    openssh: Version | None  # None: it is none


class Reloader(StrEnum):
    """What makes sshd read its files anew on this server."""

    SYSTEMD = "systemd"
    SYSTEMD_SOCKET = "systemd_socket"  # nothing to do while no ssh.service runs
    OPENRC = "openrc"
    SERVICE = "service"
    PIDFILE = "pidfile"
    NONE = "none"  # it reads them for every connection (inetd, Accept=yes)


@dataclass(frozen=True, slots=True)
class Listening:
    """The sshd that listens, as far as it was found: its program, and how it was started."""

    pid: int
    program: str  # absolute path
    arguments: tuple[str, ...] = ()  # -f FILE, -o KEYWORD=ARGUMENT … of its command line
    reloader: Reloader | None = None
    unit: str = ""  # "ssh.service"
    config: str = "/etc/ssh/sshd_config"


@dataclass(frozen=True, slots=True)
class Server:
    software: Fact[Software] = NOT_ASKED
    listening: Fact[Listening] = NOT_ASKED
    # `sshd -T -C …` for this account and address: keywords in lower case; every line of each.
    effective: Fact[Mapping[str, tuple[str, ...]]] = NOT_ASKED
    files: Fact[Mapping[str, str]] = NOT_ASKED  # sshd_config and what it includes: path -> text
    # keyword in lower case -> which line wins for this account, and what it beats
    origins: Fact[Mapping[str, Origin]] = NOT_ASKED
    # keyword -> why that cannot be told of it; neither here nor there: sshd's own default
    untold: Mapping[str, str] = field(default_factory=dict)
    managed: Fact[str] = NOT_ASKED  # "" or what says that a tool writes these files
    is_valid: Fact[bool] = NOT_ASKED  # `sshd -t`
    fault: str = ""  # sshd's own words where it is not valid
    unprivileged_from: Fact[int] = NOT_ASKED  # ports from here on need no root (Linux: 1024)


# --- port ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Port:
    """One remote forward's listener on the server, while nobody of ours has it."""

    forward: Forward
    holders: Fact[tuple[Listener, ...]] = NOT_ASKED  # who listens at this port now
    programs: tuple[str, ...] = ()  # of the holders, where the account may see them
    is_ours: bool = False  # the running tunnel of this profile is the holder
    recorded: bool = False  # the dead session of our own record is the holder
    address_exists: Fact[bool] = NOT_ASKED  # the bind address is one of the server's
    is_in_path_of_socket: Fact[bool] = NOT_ASKED  # a file is in the way of the Unix socket


# --- live ------------------------------------------------------------------------------------


class GatewayPorts(StrEnum):
    NO = "no"
    YES = "yes"
    CLIENTSPECIFIED = "clientspecified"


@dataclass(frozen=True, slots=True)
class Tried:
    """A forward that was asked for, for a second: the profile's own, or one on a spare port.

    `reach` None: refused, in the server's words `said`. `loop`: a connection from the server to the
    port came back here. `from_here`: one connect from this machine to the address visitors use.
    """

    forward: Forward
    is_spare: bool
    port: int | None = None
    reach: Reach | None = None
    said: str = ""
    loop: Fact[bool] = NOT_ASKED
    from_here: Fact[Connected] = NOT_ASKED
    address: str = ""  # "vps.example.com:12345": what `from_here` went to


@dataclass(frozen=True, slots=True)
class Firewall:
    """The server's own filter, as far as this account may read it."""

    tool: str  # "ufw", "firewalld", "nftables", "iptables"
    is_active: bool
    allows: Mapping[int, bool] = field(default_factory=dict)  # by listen port
    shown: str = ""  # the line or chain that decides


@dataclass(frozen=True, slots=True)
class Live:
    gateway_ports: Fact[GatewayPorts] = NOT_ASKED  # by what the test ports did
    tried: Fact[tuple[Tried, ...]] = NOT_ASKED
    firewall: Fact[Firewall] = NOT_ASKED
    state: str = "down"  # of the profile's tunnel, as in `status --json`
    ports_opened: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything; `seconds` and `sign_ins` are what it took."""

    here: Here = field(default_factory=Here)
    way: Way = field(default_factory=Way)
    account: Account = field(default_factory=Account)
    server: Server = field(default_factory=Server)
    ports: tuple[Port, ...] = ()
    live: Live = field(default_factory=Live)
    seconds: float = 0.0
    sign_ins: int = 0
    round_trips: int = 0
