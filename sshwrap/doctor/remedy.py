"""What `doctor --fix` would change: the least that serves, as a plan; or why it is for a person.

Laws. Nothing is changed here. A plan changes one file of the server, for one account unless
everybody is asked for, and what it says on the screen is what will be done. Whatever cannot be done
safely, or was meant as it is, comes back with what to do by hand. No SOCKS proxy is ever opened.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sshwrap.doctor.facts import (
    Account,
    Facts,
    GatewayPorts,
    Known,
    Listening,
    Reloader,
    Rights,
    Shell,
    Unknown,
    value_of,
)
from sshwrap.doctor.findings import Finding, Verdict
from sshwrap.doctor.fix_script import Last, Order, install_script
from sshwrap.doctor.sshd_config import Criteria, include_patterns
from sshwrap.doctor.sshd_config_edit import DROP_IN, Edit, Refused, is_ours, plan_edit
from sshwrap.profile.forward import Forward, Kind
from sshwrap.profile.listeners import WILDCARDS
from sshwrap.profile.model import Profile
from sshwrap.ssh.version import Version

# Check -> keyword -> what serves. sshd_config(5) has the defaults: ClientAliveCountMax 3.
REMEDIES: Mapping[str, Mapping[str, str]] = {
    "gateway-ports": {"GatewayPorts": "clientspecified"},
    "allow-tcp-forwarding": {"AllowTcpForwarding": "remote"},
    "client-alive": {"ClientAliveInterval": "15", "ClientAliveCountMax": "3"},
    "stream-local-bind-unlink": {"StreamLocalBindUnlink": "yes"},
}
PURPOSES: Mapping[str, str] = {
    "gatewayports": "own tunnels choose where they listen",
    "allowtcpforwarding": "own tunnels be made",
    "clientaliveinterval": "dead sessions end, and free their ports",
    "clientalivecountmax": "dead sessions end, and free their ports",
    "streamlocalbindunlink": "own tunnels take a socket that a dead one left",
}
MANAGED = re.compile(
    r"(?im)^[ \t]*#.*\b(ansible managed|(managed|generated|maintained) (by|with) "
    r"(ansible|puppet|chef|salt|saltstack|cfengine|nixos|guix|terraform)|"
    r"(puppet|chef|salt|nixos) manage[sd])\b.*$"
)
DROPBEAR = (
    "dropbear's -a lets remote forwards listen on every address:",
    "    OpenWrt: uci set dropbear.@dropbear[0].GatewayPorts=on; uci commit dropbear",
    "             service dropbear restart",
    "    elsewhere: add -a to dropbear's own options, and restart it",
)
RELOADS: Mapping[Reloader, str] = {
    Reloader.SYSTEMD: "systemctl reload {unit}",
    Reloader.SYSTEMD_SOCKET: "systemctl try-reload-or-restart {unit}",
    Reloader.OPENRC: "rc-service {unit} reload",
    Reloader.SERVICE: "service {unit} reload",
    Reloader.PIDFILE: "kill -HUP {pid}",
}


@dataclass(frozen=True, slots=True)
class Options:
    """`account`: whose tunnels are meant ("" : who signed in; with --admin it is another).
    `today` as 2026-11-28; `gateway_ports`: "clientspecified" or "yes"."""

    today: str
    account: str = ""
    everybody: bool = False
    public: bool = False
    gateway_ports: str = "clientspecified"


@dataclass(frozen=True, slots=True)
class Plan:
    """`order` is what apply.py takes; `diff` and `commands` what is shown of it; `risk`: what else
    it opens, a line each; `forwards`: (as it is, as it has to be) in the profile, for --public."""

    order: Order
    diff: tuple[str, ...]
    commands: tuple[str, ...]
    risk: tuple[str, ...] = ()
    forwards: tuple[tuple[Forward, Forward], ...] = ()


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to do on the server; `forwards` as in Plan."""

    reason: str
    forwards: tuple[tuple[Forward, Forward], ...] = ()


@dataclass(frozen=True, slots=True)
class ByHand:
    """`lines`: what a person can do, to be pasted where they are indented by four."""

    reason: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Server:
    """All that a plan needs to know of it."""

    version: Version
    listening: Listening
    files: Mapping[str, str]
    criteria: Criteria
    effective: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def wanted_of(findings: Iterable[Finding], options: Options) -> dict[str, str]:
    """Keyword -> argument: what would put right every finding that fails or warns and has one."""
    wanted: dict[str, str] = {}
    for finding in findings:
        if finding.verdict in (Verdict.FAIL, Verdict.WARN):
            wanted |= REMEDIES.get(finding.id, {})
    if options.public:
        wanted |= REMEDIES["gateway-ports"]
    if "GatewayPorts" in wanted:
        wanted["GatewayPorts"] = options.gateway_ports
    return wanted


def wanted_perhaps(findings: Iterable[Finding], options: Options) -> dict[str, str]:
    """The same of what could not be seen at all: only to say why nothing is done about it."""
    unseen = [one for one in findings if one.verdict is Verdict.UNKNOWN]
    names = {one.id for one in unseen} & {"gateway-ports", "allow-tcp-forwarding"}
    return wanted_of(
        [replace(one, verdict=Verdict.FAIL) for one in unseen if one.id in names], options
    )


def plan_fix(
    facts: Facts, profile: Profile, wanted: Mapping[str, str], options: Options
) -> Plan | Nothing | ByHand:
    """The plan for these keywords; the facts have to be root's, see `ByHand.reason` otherwise."""
    forwards = public_forwards(profile) if options.public else ()
    profile = _with(profile, forwards)
    server = _known(facts, wanted, options)
    if isinstance(server, ByHand):
        return server
    wanted = _least(wanted, server, profile)
    if not wanted:
        return _nothing(facts, server, options, forwards)
    stop = _refusal(facts, server, profile, wanted, options)
    if stop is not None:
        return stop
    user = server.criteria.user
    edit = plan_edit(
        server.files,
        server.listening.config,
        wanted,
        criteria=server.criteria,
        scope_user=None if options.everybody else user,
        version=server.version,
        today=options.today,
        why=_purpose(wanted, None if options.everybody else user),
        drop_in_folder=_drop_in_folder(server),
    )
    if isinstance(edit, Refused):
        return ByHand(edit.reason, _by_hand(server.listening, wanted, options, user))
    if not edit.changes:
        return _unread(server.listening, edit.path)
    order = Order(
        server.listening,
        edit,
        server.criteria,
        wanted,
        tuple(wanted),
        options.everybody,
        _others(server),
    )
    risk = _widened(profile, wanted, options, user)
    found = _plan(order, risk, forwards)
    if isinstance(found, ByHand):
        return replace(found, lines=_by_hand(server.listening, wanted, options, user))
    return found


def plan_undo(facts: Facts, last: Last, options: Options) -> Plan | ByHand:
    """The plan that takes the last change back."""
    account = replace(options, account=last.account)
    server = _known(facts, {}, account)
    if isinstance(server, ByHand):
        return server
    path = last.edit.path
    if server.files.get(path) != last.edit.after:
        what = "is not what was written then: somebody has edited it since"
        return ByHand(f"{path} {what}", ("to take out by hand:", *diff_of(_turned(last.edit))))
    edit = _turned(last.edit)
    order = Order(
        server.listening,
        edit,
        server.criteria,
        {},
        last.keywords,
        last.everybody,
        _others(server),
        undoes=last.change,
    )
    return _plan(order)


def _plan(
    order: Order,
    risk: tuple[str, ...] = (),
    forwards: tuple[tuple[Forward, Forward], ...] = (),
) -> Plan | ByHand:
    try:
        install_script(order, "0" * 16)
    except ValueError as error:  # a name or a path that nobody quotes safely everywhere
        return ByHand(str(error))
    return Plan(order, diff_of(order.edit), _commands(order.listening), risk, forwards)


def public_forwards(profile: Profile) -> tuple[tuple[Forward, Forward], ...]:
    """Its remote forwards without a bind address, each with "*" beside it; never a SOCKS proxy."""
    return tuple(
        (one, replace(one, listen_host="*", spec=f"*:{one.spec}"))
        for one in profile.remote_forward
        if one.listen_host is None and one.listen_port is not None and not one.is_socks
    )


def diff_of(edit: Edit) -> tuple[str, ...]:
    """A unified diff, as it stands on the screen."""
    before, after = ((text or "").splitlines() for text in (edit.before, edit.after))
    old, new = (
        edit.path if text is not None else "/dev/null" for text in (edit.before, edit.after)
    )
    lines = list(difflib.unified_diff(before, after, old, new, lineterm=""))
    # Of a file that is new or goes, all lines are there to be seen: no need to say where.
    is_whole = edit.before is None or edit.after is None
    return tuple(line for line in lines if not (is_whole and line.startswith("@@")))


# --- what has to be known ----------------------------------------------------------------------


def _known(facts: Facts, wanted: Mapping[str, str], options: Options) -> _Server | ByHand:
    software = value_of(facts.server.software)
    if software is not None and software.openssh is None:
        lines = DROPBEAR if software.text.lower().startswith("dropbear") else ()
        return ByHand(f'the server is "{software.text}", not OpenSSH', lines)
    shell, listening = value_of(facts.account.shell), value_of(facts.server.listening)
    user = options.account or (shell.user if shell else "")
    by_hand = _by_hand(listening, wanted, options, user) if wanted else ()
    if software is None or software.openssh is None:
        return ByHand("it is not known which ssh server that is", by_hand)
    no_root = _why_not_root(facts.account)
    if no_root is not None:
        return ByHand(no_root, by_hand)
    managed = _managed(facts)
    if managed:
        return ByHand(f"a tool writes these files ({managed}): change them there", by_hand)
    # Where that is not known it is asked again, as root, before anything is changed.
    if value_of(facts.server.is_valid) is False:
        return ByHand("sshd refuses its configuration as it is; first that", ("    sshd -t",))
    files, criteria = value_of(facts.server.files), _criteria(shell, user)
    if files is None or listening is None or criteria is None:
        missing = facts.server.files if files is None else facts.server.listening
        reason = missing.reason if isinstance(missing, Unknown) else "no session was had"
        return ByHand(f"sshd's configuration is not known: {reason}", by_hand)
    effective = value_of(facts.server.effective) or {}
    return _Server(software.openssh, listening, files, criteria, effective)


def _why_not_root(account: Account) -> str | None:
    match account.rights:
        case Known(value=Rights.NONE):
            return "this account is not root there, and may not use sudo"
        case Unknown(reason=reason):
            return f"whether this account can be root there is not known: {reason}"
    return None


def _managed(facts: Facts) -> str:
    said = value_of(facts.server.managed)
    # cloud-init writes its file once, at the first boot; ours stands beside it.
    if said and "cloud-init" not in said.lower():
        return said
    for path, text in (value_of(facts.server.files) or {}).items():
        found = MANAGED.search(text)
        if path.startswith(("/nix/store/", "/gnu/store/")) or found:
            return f"{path}: {found[0].strip()}" if found else path
    return ""


def _criteria(shell: Shell | None, user: str) -> Criteria | None:
    if shell is None or shell.client is None or shell.server is None:
        return None
    groups = shell.groups if user == shell.user else ()
    address, (local, port) = shell.client[0], shell.server
    return Criteria(user, address, address, local, port, groups)


def _drop_in_folder(server: _Server) -> str | None:
    text = server.files.get(server.listening.config, "")
    for pattern in include_patterns(text, version=server.version):
        folder, _, name = pattern.rpartition("/")
        if name in ("*.conf", "*") and "*" not in folder:
            return folder
    return None


def _others(server: _Server) -> tuple[str, ...]:
    """Root, and whom a Match block names: nothing shall change for them."""
    named = re.findall(r"(?im)^[ \t]*match[ \t=]+user[ \t]+(\S+)", "\n".join(server.files.values()))
    names = ("root", *(name for words in named for name in words.split(",")))
    plain = [name for name in names if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)]
    return tuple(name for name in dict.fromkeys(plain) if name != server.criteria.user)[:8]


# --- the least, and what is refused ------------------------------------------------------------


def _least(wanted: Mapping[str, str], server: _Server, profile: Profile) -> dict[str, str]:
    least: dict[str, str] = {}
    for keyword, argument in wanted.items():
        have = " ".join(server.effective.get(keyword.lower(), ())).lower()
        if not _serves(keyword.lower(), have, argument):
            least[keyword] = argument
    has_others = bool(profile.local_forward or profile.dynamic_forward)
    was = " ".join(server.effective.get("allowtcpforwarding", ())).lower()
    if "AllowTcpForwarding" in least and (has_others or was == "local"):
        least["AllowTcpForwarding"] = "yes"  # what goes today goes tomorrow
    return least


def _serves(keyword: str, have: str, argument: str) -> bool:
    if keyword == "allowtcpforwarding":
        return have in ("yes", "all", argument)
    if keyword == "gatewayports":
        return have in ("yes", argument)
    if keyword in ("clientaliveinterval", "clientalivecountmax") and have.isdigit():
        return 0 < int(have) <= max(int(argument), 60 if keyword == "clientaliveinterval" else 5)
    return have == argument.lower()


def _nothing(
    facts: Facts,
    server: _Server,
    options: Options,
    forwards: tuple[tuple[Forward, Forward], ...],
) -> Nothing | ByHand:
    """All of it is there in the files; whether sshd has read them, only a forward can tell."""
    live = value_of(facts.live.gateway_ports)
    have = " ".join(server.effective.get("gatewayports", ())).lower()
    if live is GatewayPorts.NO and have in ("yes", "clientspecified"):
        return _unread(server.listening, server.listening.config)
    return Nothing(f"it is all there already for {server.criteria.user}", forwards)


def _unread(sshd: Listening, path: str) -> ByHand:
    lines = tuple(f"    {command}" for command in _commands(sshd))
    return ByHand(f"{path} says so already, and sshd has not read it since", lines)


def _refusal(
    facts: Facts,
    server: _Server,
    profile: Profile,
    wanted: Mapping[str, str],
    options: Options,
) -> ByHand | None:
    names = {keyword.lower() for keyword in wanted}
    user = server.criteria.user
    by_hand = _by_hand(server.listening, wanted, options, user)
    # What is given with -o beats every file, but for what stands in a Match block.
    for argument in server.listening.arguments if options.everybody else ():
        keyword = re.split(r"[\s=]", argument.removeprefix("-o").strip())[0].lower()
        if keyword in names:
            return ByHand(f'sshd was started with "{argument}", which beats every file')
    for keyword in names:
        origin = (value_of(facts.server.origins) or {}).get(keyword)
        winner = origin.winner if origin else None
        if winner is None or not winner.block or winner.block.lower() == "match all":
            continue
        if not is_ours(server.files, winner, version=server.version):
            where = f'{winner.file}:{winner.line}, under "{winner.block}"'
            return ByHand(f"somebody has meant it so: {where}, says {winner.argument}", by_hand)
    if "gatewayports" in names:
        for one in profile.remote_forward:
            opens = one.is_socks and (
                wanted["GatewayPorts"] == "yes" or one.listen_host not in _LOOPBACK
            )
            if opens:
                reason = f'"{one.spec}" is a SOCKS proxy, which that would open to everybody'
                return ByHand(
                    reason, ("write localhost:PORT as its listen address, and try again",)
                )
    return None


_LOOPBACK = (None, "localhost", "127.0.0.1", "::1")


def _widened(
    profile: Profile, wanted: Mapping[str, str], options: Options, user: str
) -> tuple[str, ...]:
    """What listens more widely than before, beside what was asked for."""
    if wanted.get("GatewayPorts") != "yes":
        return ()
    own = [
        f"    {one.spec}"
        for one in profile.remote_forward
        if one.kind is Kind.REMOTE
        and one.listen_port is not None
        and one.listen_host not in WILDCARDS
    ]
    whose = (
        "everybody's remote forwards" if options.everybody else f"every remote forward of {user}"
    )
    head = f'GatewayPorts "yes" opens {whose} to every address, whatever they ask for:'
    return (head, *own, "    and those of every other client, at its next sign-in")


# --- words -------------------------------------------------------------------------------------


def _purpose(wanted: Mapping[str, str], user: str | None) -> str:
    purposes = dict.fromkeys(PURPOSES.get(keyword.lower(), keyword) for keyword in wanted)
    whose = "everybody's" if user is None else f"{user}'s"
    return f"let {whose} {', and '.join(purposes)}"


def _commands(sshd: Listening) -> tuple[str, ...]:
    unit = (sshd.unit or "sshd").removesuffix(".service").removesuffix(".socket")
    reload = RELOADS.get(sshd.reloader or Reloader.PIDFILE, "").format(unit=unit, pid=sshd.pid)
    return (f"sshd -t && {reload}" if reload else "sshd -t",)


def _by_hand(
    sshd: Listening | None, wanted: Mapping[str, str], options: Options, user: str
) -> tuple[str, ...]:
    """As root on the server; for who knows that server better than we do."""
    block = [f"{keyword} {argument}" for keyword, argument in wanted.items()]
    if not options.everybody and user:
        block = [f"Match User {user}", *(f"    {line}" for line in block)]
    commands = _commands(sshd) if sshd else ("sshd -t && systemctl reload ssh",)
    return (
        f"as root on the server, in /etc/ssh/sshd_config.d/{DROP_IN}",
        "(or at the end of sshd_config, where that has no Include):",
        *(f"    {line}" for line in block),
        "then:",
        *(f"    {command}" for command in commands),
    )


def _turned(edit: Edit) -> Edit:
    return Edit(edit.path, edit.after, edit.before)


def _with(profile: Profile, forwards: tuple[tuple[Forward, Forward], ...]) -> Profile:
    new = {id(old): now for old, now in forwards}
    changed = tuple(new.get(id(one), one) for one in profile.remote_forward)
    return replace(profile, remote_forward=changed)
