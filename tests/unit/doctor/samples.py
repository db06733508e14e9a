"""Made-up facts for the tests of doctor: a sound server, and what is changed of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sshwrap.doctor.checks import Asked, run_checks
from sshwrap.doctor.facts import (
    Account,
    Answer,
    ClientConfig,
    Connected,
    Facts,
    GatewayPorts,
    Here,
    HostKey,
    HostKeyState,
    Identity,
    Known,
    Live,
    Port,
    Rights,
    Server,
    Shell,
    SignIn,
    Software,
    Target,
    Tried,
    Unknown,
    Way,
)
from sshwrap.doctor.findings import Finding, Verdict
from sshwrap.doctor.sshd_config import Origin, Place
from sshwrap.profile.forward import Forward, Kind, parse_forward
from sshwrap.profile.model import Profile
from sshwrap.ssh.failure import Failure, failure
from sshwrap.ssh.version import Version
from sshwrap.tunnel.reach import AS_ASKED, EXPOSED, LOOPBACK_ONLY, Reach

NO_SESSION = Unknown("the account has no shell", "This account is currently not available.")
EVERYWHERE, INSIDE = ("0.0.0.0", "::"), ("127.0.0.1", "::1")
KEY = "SHA256:abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
ALL_OPTIONS = ("agent-forwarding", "port-forwarding", "pty", "user-rc", "x11-forwarding")

# `sshd -T` of Debian bookworm's sshd as it comes, as far as the checks ask.
DEBIAN = {
    "port": ("22",),
    "maxsessions": ("10",),
    "maxstartups": ("10:30:100",),
    "persourcemaxstartups": ("none",),
    "clientaliveinterval": ("0",),
    "clientalivecountmax": ("3",),
    "unusedconnectiontimeout": ("none",),
    "gatewayports": ("no",),
    "allowtcpforwarding": ("yes",),
    "allowstreamlocalforwarding": ("yes",),
    "disableforwarding": ("no",),
    "streamlocalbindunlink": ("no",),
    "permitlisten": ("any",),
    "permitopen": ("any",),
}
PENALTIES = (
    "crash:90 authfail:5 noauth:1 grace-exceeded:10 refuseconnection:10 max:600 min:15 "
    "max-sources4:65536 max-sources6:65536 overflow:permissive overflow6:permissive"
)


def forward(spec: str, kind: Kind = Kind.REMOTE, source: str = "profile") -> Forward:
    return parse_forward(kind, spec, environ={}, service_port=lambda _: None, source=source)


WEB = forward("12345:localhost:8080")
PUBLIC = forward("*:12345:localhost:8080")
SOCKET = forward("/run/web.sock:localhost:8080")


def profile(*forwards: Forward, **values: Any) -> Profile:
    kinds = {kind: tuple(one for one in forwards if one.kind is kind) for kind in Kind}
    given = {f"{kind.value}_forward": found for kind, found in kinds.items()}
    values = {"name": "web", "destination": "root@vps.example.com", **given, **values}
    return Profile(**values)


def asked(*forwards: Forward, as_public: bool = False, **values: Any) -> Asked:
    mine = forwards or (WEB,)
    made = profile(*(one for one in mine if one.source == "profile"), **values)
    return Asked(made, mine, as_public=as_public)


def destination(as_public: bool = False) -> Asked:
    made = Profile(name="root@vps.example.com", destination="root@vps.example.com")
    return Asked(made, (), as_public=as_public, has_profile=False)


def connected(answer: Answer = Answer.OPEN, seconds: float = 0.031) -> Connected:
    return Connected(answer, seconds)


def trial(
    one: Forward,
    bound: tuple[str, ...] | None = INSIDE,
    *,
    reach: str = AS_ASKED,
    spare: bool = True,
    said: str = "",
    **values: Any,
) -> Tried:
    """A forward that was let in; `bound` None: refused, with `said`."""
    found = None if bound is None else Reach(reach, bound, None)
    port = 40001 if spare else one.listen_port
    return Tried(one, spare, port, found, said, **values)


def failed(kind: str, said: str = "", **detail: str) -> Failure:
    return failure(kind, destination="root@vps.example.com", profile="web", said=said, **detail)


def sound(*forwards: Forward, gateway: str = "no") -> Facts:
    """Debian bookworm's sshd as it comes, an account with a shell, all of it known, tunnel down."""
    mine = forwards or (WEB,)
    value = GatewayPorts(gateway)
    targets = tuple(Target(one, connected(), is_sshd=False) for one in mine if not one.is_socks)
    asked_bound = {"no": INSIDE, "yes": EVERYWHERE}
    wide = forward("*:0:localhost:9")
    bound = asked_bound.get(gateway, EVERYWHERE)
    reach = LOOPBACK_ONLY if bound == INSIDE else AS_ASKED
    inner = forward("127.0.0.1:0:localhost:9")
    inner_reach = EXPOSED if gateway == "yes" else AS_ASKED
    answer = Answer.REFUSED if bound == INSIDE else Answer.OPEN
    tries = (
        trial(
            wide,
            bound,
            reach=reach,
            loop=Known(True),
            from_here=Known(connected(answer)),
            address="vps.example.com:40001",
        ),
        trial(inner, asked_bound.get(gateway, ("127.0.0.1",)), reach=inner_reach, loop=Known(True)),
    )
    return Facts(
        here=Here(
            ssh=Known(Version(9, 2, "OpenSSH_9.2p1 Debian-2+deb12u3")),
            config=Known(ClientConfig("vps.example.com", "root", 22, {})),
            identities=Known(
                (
                    Identity(
                        "~/.ssh/id_ed25519",
                        from_profile=False,
                        exists=True,
                        is_readable=True,
                        mode=0o600,
                        is_encrypted=False,
                        fingerprint=KEY,
                    ),
                )
            ),
            agent=Unknown("no agent runs"),
            targets=Known(targets),
        ),
        way=Way(
            addresses=Known(("203.0.113.7",)),
            tcp=Known(connected()),
            banner=Known("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3"),
            host_key=Known(HostKey(HostKeyState.KNOWN, f"{KEY} (ED25519)")),
            round_trip=Known(0.031),
        ),
        account=Account(
            sign_in=Known(SignIn(None, "publickey")),
            key_options=Known(ALL_OPTIONS),
            shell=Known(
                Shell(
                    "root",
                    0,
                    ("root",),
                    "/bin/bash",
                    ("198.51.100.23", 50000),
                    ("203.0.113.7", 22),
                    "Linux",
                    "Debian GNU/Linux 12 (bookworm)",
                )
            ),
            rights=Known(Rights.ROOT),
        ),
        server=Server(
            software=Known(Software("OpenSSH_9.2p1 Debian-2+deb12u3", Version(9, 2))),
            effective=Known({**DEBIAN, "gatewayports": (gateway,)}),
            origins=Known({}),
            unprivileged_from=Known(1024),
        ),
        ports=tuple(Port(one, holders=Known(())) for one in mine if one.kind is Kind.REMOTE),
        live=Live(gateway_ports=Known(value), tried=Known(tries), ports_opened=2),
        seconds=5.0,
        sign_ins=1,
    )


def having(facts: Facts, **changes: Any) -> Facts:
    """`facts` with changes: `having(facts, way={"jump": "bastion"}, ports=())`."""
    made = {
        name: replace(getattr(facts, name), **change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    return replace(facts, **made)


def setting(facts: Facts, **values: str | None) -> Facts:
    """With these arguments of sshd_config; None: the keyword is not printed."""
    assert isinstance(facts.server.effective, Known)
    effective = dict(facts.server.effective.value)
    for keyword, value in values.items():
        effective.pop(keyword, None)
        if value is not None:
            effective[keyword] = (value,)
    return having(facts, server={"effective": Known(effective)})


def unprivileged(facts: Facts) -> Facts:
    """An account that is neither root nor may sudo, nor see what sshd -T says."""
    assert isinstance(facts.account.shell, Known)
    shell = replace(facts.account.shell.value, user="tunnel", uid=1000)
    no = Unknown("only root can run sshd -T there")
    return having(
        facts,
        account={"shell": Known(shell), "rights": Known(Rights.NONE)},
        server={"effective": no, "origins": no},
    )


def placed(keyword: str, argument: str, file: str, line: int, block: str = "") -> dict[str, Origin]:
    return {keyword.lower(): Origin(keyword, Place(file, line, argument, block))}


def find(facts: Facts, what: Asked, check: str) -> Finding | None:
    return next((one for one in run_checks(facts, what) if one.id == check), None)


def judge(facts: Facts, what: Asked, check: str) -> Finding:
    found = find(facts, what, check)
    assert found is not None, f"{check} does not apply"
    return found


def verdict(facts: Facts, what: Asked, check: str) -> Verdict | None:
    found = find(facts, what, check)
    return None if found is None else found.verdict
