"""One session on the server with the whole script, and the facts that its answer holds.

Laws. One round trip. Where no session can or may be had, everything of it is Unknown with that one
reason. sshd's configuration is asked for the profile's account, whoever has signed in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from sshwrap.doctor.answers import (
    Part,
    read_addresses,
    read_effective,
    read_files,
    read_listening,
    read_managed,
    read_parts,
    read_paths,
    read_programs,
    read_recorded,
    read_rights,
    read_shell,
    read_unprivileged_from,
    read_valid,
    read_version,
)
from sshwrap.doctor.facts import (
    NOT_ASKED,
    Fact,
    Firewall,
    Known,
    Port,
    Rights,
    Server,
    Shell,
    Software,
    Unknown,
    value_of,
)
from sshwrap.doctor.firewall import read_firewall
from sshwrap.doctor.questions import COMMAND, Asked, server_script
from sshwrap.doctor.remote import Connection
from sshwrap.doctor.sshd_config import Criteria, Origin, Unsupported, evaluate
from sshwrap.profile.forward import Forward
from sshwrap.ssh.look import Listener, Look, Owner, read_look
from sshwrap.ssh.mux import Unknown as Unasked
from sshwrap.ssh.session_record import SessionRecord
from sshwrap.ssh.version import Version, parse_version
from sshwrap.tunnel.where import EVERYBODY, as_number

SESSION_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Session:
    """What one session has shown. `look` Unknown: /proc is not to be seen, or no session."""

    shell: Fact[Shell] = NOT_ASKED
    rights: Fact[Rights] = NOT_ASKED
    look: Fact[Look] = NOT_ASKED
    addresses: Fact[frozenset[str]] = NOT_ASKED
    unprivileged_from: Fact[int] = NOT_ASKED
    firewall: Fact[Firewall] = NOT_ASKED
    paths: Mapping[str, bool] = field(default_factory=dict)
    recorded: tuple[int, int] | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)


def no_session(reason: str, said: str = "") -> Session:
    unknown = Unknown(reason, said)
    return Session(unknown, unknown, unknown, unknown, unknown, unknown)


def ask_server(connection: Connection, asked: Asked, seconds: float) -> Session:
    ran = connection.run(COMMAND, server_script(asked), seconds)
    parts = read_parts(asked.nonce, ran.out)
    look = read_look(asked.nonce, ran.status, ran.out, ran.err, timed_out=ran.timed_out)
    if not parts:
        # The look's own words tell a refusal, a forced command and a silence apart.
        if isinstance(look, Unasked):
            return no_session(look.reason, look.said)
        return no_session("the server's answer was not complete")
    account = parts.get("account")
    return Session(
        shell=read_shell(account),
        rights=read_rights(account),
        look=Unknown(look.reason, look.said) if isinstance(look, Unasked) else Known(look),
        addresses=read_addresses(account),
        unprivileged_from=read_unprivileged_from(account),
        firewall=read_firewall(parts.get("firewall"), asked.ports),
        paths=read_paths(account, asked.paths),
        recorded=read_recorded(account),
        parts=parts,
    )


def server_facts(session: Session, software: Fact[Software], user: str) -> Server:
    """`software`: by the banner, where one was seen; else what the program calls itself."""
    if isinstance(session.shell, Unknown):
        unknown = session.shell
        return Server(
            software=software,
            listening=unknown,
            effective=unknown,
            files=unknown,
            origins=unknown,
            managed=unknown,
            is_valid=unknown,
            unprivileged_from=unknown,
        )
    sshd, effective = session.parts.get("sshd"), session.parts.get("effective")
    shell = session.shell.value
    program = read_version(sshd)
    if isinstance(software, Unknown) and program:
        software = Known(Software(program, parse_version(program)))
    listening = read_listening(sshd, effective, shell.system)
    files = read_files(session.parts.get("files"))
    is_valid, fault = read_valid(effective)
    known = value_of(software)
    version = known.openssh if known is not None else None
    reading = _read_origins(files, sshd, _criteria(user, shell, sshd), version)
    origins: Fact[Mapping[str, Origin]]
    untold: dict[str, str] = {}
    if isinstance(reading, Unknown):
        origins = reading
    else:
        origins = Known({key: one for key, one in reading.items() if isinstance(one, Origin)})
        untold = {key: one.reason for key, one in reading.items() if not isinstance(one, Origin)}
    return Server(
        software=software,
        listening=listening,
        effective=read_effective(effective),
        files=files,
        origins=origins,
        untold=untold,
        managed=read_managed(sshd, files),
        is_valid=is_valid,
        fault=fault,
        unprivileged_from=session.unprivileged_from,
    )


def _criteria(user: str, shell: Shell, sshd: Part | None) -> Criteria | None:
    if shell.client is None or shell.server is None or sshd is None:
        return None
    address = shell.client[0]  # and the host's name, unless UseDNS is set
    groups = tuple(sshd.word("groups").split())
    return Criteria(user, address, address, *shell.server, groups)


def _read_origins(
    files: Fact[Mapping[str, str]],
    sshd: Part | None,
    criteria: Criteria | None,
    version: Version | None,
) -> Unknown | Mapping[str, Origin | Unsupported]:
    """Which line of which file wins for this account."""
    if isinstance(files, Unknown):
        return files
    if sshd is None or version is None:
        return Unknown("the version of the server's sshd is not known")
    if criteria is None:
        return Unknown("the server does not say from where it sees this machine come")
    if sshd.rows("options"):
        return Unknown("sshd was started with -o, which beats every file")
    reading = evaluate(files.value, sshd.word("config"), criteria, version=version)
    return Unknown(reading.reason) if isinstance(reading, Unsupported) else reading


# --- ports ---------------------------------------------------------------------------------------


def port_facts(
    session: Session,
    forward: Forward,
    *,
    is_up: bool,
    record: SessionRecord | None,
    as_other: bool = False,
) -> Port:
    """`is_up`: the profile's tunnel is. `as_other`: somebody else has signed in, to whom the
    account's own sockets are another's."""
    if forward.listen_path is not None:
        return _path_facts(session, forward, is_up=is_up, as_other=as_other)
    port = forward.listen_port
    if not port:
        unknown = Unknown("the server chooses the port")
        return Port(forward, unknown, address_exists=_address_exists(session, forward))
    look = session.look
    if isinstance(look, Unknown):
        return Port(forward, look, address_exists=_address_exists(session, forward))
    at_port = tuple(one for one in look.value.listeners if one.port == port)
    return Port(
        forward,
        Known(at_port),
        programs=read_programs(session.parts.get("programs"), port),
        # ssh has confirmed it, so one of those who listen is ours, whoever it is shown as: dropbear
        # listens as root, and to another account that looks all of ours are somebody else's.
        is_ours=is_up and bool(at_port),
        recorded=_is_recorded(session, look.value, at_port, record),
        address_exists=_address_exists(session, forward),
    )


def _path_facts(session: Session, forward: Forward, *, is_up: bool, as_other: bool) -> Port:
    path = (forward.listen_path or "").replace("%%", "%")
    look = value_of(session.look)
    if "%" in path:
        return Port(forward, is_in_path_of_socket=Unknown("only ssh knows which path it is"))
    if path not in session.paths or look is None:
        reason = session.look if isinstance(session.look, Unknown) else NOT_ASKED
        return Port(forward, reason, is_in_path_of_socket=reason)
    listening = [one for one in look.sockets if one.path == path]
    is_ours = is_up and any(as_other or one.owner is not Owner.OTHER for one in listening)
    in_way = session.paths[path] and not is_ours
    return Port(forward, Known(()), is_ours=is_ours, is_in_path_of_socket=Known(in_way))


def _is_recorded(
    session: Session,
    look: Look,
    at_port: Sequence[Listener],
    record: SessionRecord | None,
) -> bool:
    """Whether the session of our own record still runs, and the account has the port."""
    if record is None or session.recorded != (record.session_pid, record.session_started):
        return False
    return look.boot_id == record.session_boot_id and any(
        one.uid == record.session_uid for one in at_port
    )


def _address_exists(session: Session, forward: Forward) -> Fact[bool]:
    if forward.listen_host in (None, "localhost", *EVERYBODY):
        return Known(True)
    number = as_number(forward.listen_host)
    if number is None:
        return Unknown(f'only the server knows which address "{forward.listen_host}" is')
    if isinstance(session.addresses, Unknown):
        return session.addresses
    address = ip_address(number)
    is_local = address.version == 4 and address.is_loopback  # all of 127/8 is, on Linux
    return Known(is_local or number in session.addresses.value)


def asked_ports(forwards: Collection[Forward], more: Collection[int]) -> tuple[int, ...]:
    return tuple(sorted({one.listen_port for one in forwards if one.listen_port} | set(more)))


def asked_paths(forwards: Collection[Forward]) -> tuple[str, ...]:
    """Those that only ssh could expand are left out."""
    paths = [one.listen_path.replace("%%", "%") for one in forwards if one.listen_path]
    return tuple(path for path in dict.fromkeys(paths) if "%" not in path)
