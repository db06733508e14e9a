"""The checks by doing: forwards that were asked for, and who gets through them.

Laws. What this machine saw is "from here". A spare port that does not answer proves nothing of the
real one, which a firewall may let in. A listener on the server's own loopback, or a refused
forward, is the consequence of another check, and named as that.
"""

from __future__ import annotations

from sshwrap.doctor import checks_account, checks_port, checks_server
from sshwrap.doctor.checks_gateway import is_wrong
from sshwrap.doctor.facts import (
    Answer,
    Connected,
    Facts,
    Firewall,
    Known,
    Tried,
    Unknown,
    value_of,
)
from sshwrap.doctor.findings import Verdict
from sshwrap.doctor.judging import (
    Asked,
    Judge,
    Judged,
    command,
    explained,
    fail,
    host_of,
    is_for_all,
    line,
    ok,
    own,
    seconds_text,
    seen_reach,
    tried,
    unknown,
    warn,
)
from sshwrap.profile.forward import Forward, describe_listen
from sshwrap.tunnel.reach import (
    AS_ASKED,
    EVERY_IPV4,
    EVERY_IPV6,
    EXPOSED,
    HALF_BOUND,
    LOOPBACK_ONLY,
    LOOPBACKS,
)

PROVIDER = (
    'else your provider\'s firewall ("security group", 安全组) in its web console, which sshwrap '
    "can neither see nor change: let TCP {port} in"
)
# What can make a server refuse a forward, and the check that tells; the first that fails is named.
REFUSALS: tuple[tuple[str, Judge], ...] = (
    ("key-options", checks_account.key_options),
    ("disable-forwarding", checks_server.disable_forwarding),
    ("allow-tcp-forwarding", checks_server.allow_tcp_forwarding),
    ("allow-stream-local-forwarding", checks_server.allow_stream_local_forwarding),
    ("permit-listen", checks_server.permit_listen),
    ("privileged-port", checks_port.privileged_port),
    ("bind-address", checks_port.bind_address),
    ("port-free", checks_port.port_free),
)


def spare_port(facts: Facts, asked: Asked) -> Judged | None:
    if isinstance(facts.live.tried, Unknown):
        return unknown(facts.live.tried)
    spare = [one for one in facts.live.tried.value if one.is_spare]
    if not spare:
        return None if facts.live.tried.value else unknown("no test port was opened")
    refused = [one for one in spare if one.reach is None]
    if len(refused) == len(spare):
        said = refused[0].said
        if checks_account.REFUSED_PORT in said:
            return unknown("this account may open certain ports only, and no spare one")
        return _refused(facts, asked, "a test port was refused", said)
    listening = next(one for one in spare if one.reach is not None)
    where = _where(listening)
    if is_wrong(facts, asked):
        judged = fail(f"a test port listens on {where}", "The server decides where it listens.")
        return explained(judged, "gateway-ports")
    return ok(f"a test port listens on {where}", f"a test port listens on {where}")


def _where(trial: Tried) -> str:
    bound = trial.reach.bound if trial.reach is not None else None
    if not bound:
        return "an address that nobody has seen"
    every = [one for one in bound if one in (EVERY_IPV4, EVERY_IPV6)]
    if len(every) == 2:
        return "every address"
    if every:
        return f"every {'IPv6' if ':' in every[0] else 'IPv4'} address"
    return " and ".join(bound)


def _refused(facts: Facts, asked: Asked, seen: str, said: str) -> Judged:
    """A forward that the server would not open: by which check's leave, as far as one can tell."""
    why = f"The server said: {said}" if said else "The server gave no reason."
    judged = fail(seen, why)
    for name, judge in REFUSALS:
        found = judge(facts, asked)
        if found is not None and found.verdict is Verdict.FAIL:
            return explained(judged, name)
    return fail(
        seen,
        why,
        "read sshd's log on the server:",
        line("sudo journalctl -u ssh -n 50"),
    )


def forwards(facts: Facts, asked: Asked) -> Judged | None:
    """The profile's own ones; a profile that is down has none to look at."""
    if isinstance(facts.live.tried, Unknown):
        return unknown(facts.live.tried) if facts.live.state == "up" else None
    found = [(one, trial) for one in asked.remote if (trial := own(facts, one)) is not None]
    if not found:
        return None
    for forward, trial in found:
        judged = _of_forward(facts, asked, asked.judged(forward), trial)
        if judged.verdict is not Verdict.OK:
            return judged
    shown = ", ".join(describe_listen(one) for one, _ in found)
    return ok(f"as asked: {shown}", "" if len(found) > 1 else f"{shown} listens as asked")


def _of_forward(facts: Facts, asked: Asked, forward: Forward, trial: Tried) -> Judged:
    shown = describe_listen(forward)
    reach = trial.reach
    if reach is None:
        return _refused(facts, asked, f"{shown} was refused", trial.said)
    is_public_one = is_for_all(forward) and trial.forward.listen_host is None
    is_inside = bool(reach.bound) and set(reach.bound or ()) <= set(LOOPBACKS)
    if reach.reach == LOOPBACK_ONLY:
        seen = f"{shown} is on the server only"
        return _elsewhere(facts, asked, seen, "Nobody else can connect.")
    if reach.reach == EXPOSED:
        seen = f"{shown} is open to everybody, wider than asked"
        return _elsewhere(facts, asked, seen, "Whoever knows the port can connect.")
    if is_public_one and is_inside:
        seen = f"{trial.forward.listen_port} is on the server only: it has no bind address"
        if is_wrong(facts, asked):
            return explained(fail(seen, "Nobody else can connect."), "gateway-ports")
        why = "With a * before the port the server can let others in."
        return warn(seen, why, line(asked.doctor("--fix", "--public")))
    if reach.reach == HALF_BOUND:
        return fail(
            f"{shown} is only half ours: {reach.reason or 'another program has the rest'}",
            "Visitors by the other family come to that other program.",
            "see who holds it, on the server:",
            line(f"sudo ss -ltnp 'sport = :{trial.port or forward.listen_port}'"),
        )
    if reach.reach != AS_ASKED:
        return unknown(reach.reason or f"nobody has seen where {shown} listens")
    return ok(f"{shown} listens as asked")


def _elsewhere(facts: Facts, asked: Asked, seen: str, why: str) -> Judged:
    """Not where it was asked for: by GatewayPorts, as it is now or as it was at the sign-in."""
    if is_wrong(facts, asked):
        return explained(fail(seen, why), "gateway-ports")
    return fail(
        seen,
        f"{why} sshd would do it right by now: this session is older than its last reload.",
        command("sshwrap", "restart", asked.profile.name),
    )


def loop(facts: Facts, asked: Asked) -> Judged | None:
    """A connection from the server to the port comes back to this machine."""
    if isinstance(facts.live.tried, Unknown):
        return unknown(facts.live.tried)
    let_in = [one for one in facts.live.tried.value if one.reach is not None]
    if not let_in:
        return None
    for trial in let_in:
        if trial.loop == Known(False):
            return fail(
                f"port {trial.port} on the server does not lead back here",
                "The forward was let in, and a connection to it on the server came to somebody "
                "else, or to nobody.",
                "see who listens there, on the server:",
                line(f"sudo ss -ltnp 'sport = :{trial.port}'"),
            )
    if any(one.loop == Known(True) for one in let_in):
        return ok("a connection on the server comes back here")
    return unknown(next(one.loop for one in let_in if isinstance(one.loop, Unknown)))


# --- from here -------------------------------------------------------------------------------


def from_here(facts: Facts, asked: Asked) -> Judged | None:
    """Whether this machine gets in by the address that visitors use; if not, what is in between."""
    if isinstance(facts.live.tried, Unknown):
        return unknown(facts.live.tried)
    public = [one for one in asked.remote_ports if is_for_all(one)]
    if not public and (asked.has_profile or not asked.as_public):
        return None
    trial = _best(facts, public)
    if trial is None:
        return None  # nothing was let in; test-port and forwards say why
    if isinstance(trial.from_here, Unknown):
        return unknown(trial.from_here)
    connected = trial.from_here.value
    what = "a test port" if trial.is_spare else trial.address or f"port {trial.port}"
    if connected.answer is Answer.OPEN:
        seen = f"{what} answers from here in {seconds_text(connected.seconds)}"
        return ok(seen, seen)
    if connected.answer is Answer.UNRESOLVED:
        return unknown("the address that visitors use has no number here")
    if is_wrong(facts, asked) or seen_reach(trial) == LOOPBACK_ONLY:
        how = _how(connected)
        came_back = trial.loop == Known(True)
        begin = "answers on the server" if came_back else "is open on the server"
        seen = f"{what} {begin} and {how} from here"
        return _elsewhere(facts, asked, seen, "It is on the server's own loopback.")
    return _blocked(facts, public, trial, connected, what)


def _best(facts: Facts, public: list[Forward]) -> Tried | None:
    """A real port before a spare one; of spare ones that which asked for every address."""
    reached = [one for one in tried(facts) if one.reach is not None]
    real = [one for one in reached if not one.is_spare and own(facts, one.forward) is one]
    real = [one for one in real if any(_same_port(one.forward, each) for each in public)]
    spare = [one for one in reached if one.is_spare]
    wide = [one for one in spare if is_for_all(one.forward)]
    return next(iter([*real, *wide, *spare]), None)


def _same_port(one: Forward, other: Forward) -> bool:
    return one.listen_port == other.listen_port and one.listen_path == other.listen_path


def _how(connected: Connected) -> str:
    match connected.answer:
        case Answer.REFUSED:
            return "is refused"
        case Answer.TIMEOUT:
            return f"gives no answer in {seconds_text(connected.seconds)}"
        case Answer.NO_ROUTE:
            return "cannot be reached"
    return "has no address"


def _blocked(
    facts: Facts, public: list[Forward], trial: Tried, connected: Connected, what: str
) -> Judged:
    """It listens where others should get in, and this machine does not."""
    port = next((one.listen_port for one in public if one.listen_port), None) or trial.port or 0
    firewall = value_of(facts.live.firewall)
    allows = firewall.allows.get(port) if firewall is not None and firewall.is_active else None
    where = _where(trial)
    is_seen = trial.reach is not None and bool(trial.reach.bound)
    begin = f"it listens on {where}" if is_seen else "the server has opened it"
    seen = f"{what}: {begin}, and {_how(connected)} from here"
    fold = f"{'listens on ' + where if is_seen else what}; {_no_answer(connected)}"
    if firewall is not None and allows is False:
        shown = f"\nIts rule\n    {firewall.shown}" if firewall.shown else ""
        return fail(
            seen + shown,
            f"{firewall.tool} on the server is active and does not allow {port}.",
            "on the server:",
            line(_open(firewall, port)),
            "if that is not it: " + PROVIDER.format(port=port).removeprefix("else "),
            fold=fold,
        )
    if connected.answer is Answer.REFUSED:
        return _turned_away(facts, trial, port, seen, fold)
    advice = _firewall_advice(firewall, allows, port)
    if trial.is_spare:
        return warn(
            seen,
            f"A firewall drops it. It may still let {port} in, which is closed now and cannot be "
            "tried."
            if port != trial.port
            else "A firewall drops it; it may still let other ports in.",
            *advice,
            fold=fold,
        )
    return fail(seen, "Something in front of sshd drops it: a firewall.", *advice, fold=fold)


def _no_answer(connected: Connected) -> str:
    if connected.answer is Answer.TIMEOUT:
        return f"no answer from here in {seconds_text(connected.seconds)}"
    return "refused from here" if connected.answer is Answer.REFUSED else "not reached from here"


def _turned_away(facts: Facts, trial: Tried, port: int, seen: str, fold: str) -> Judged:
    """Refused though it listens: by a firewall that answers, or by another machine."""
    address = trial.address or f"port {trial.port}"
    say = warn if trial.is_spare else fail
    return say(
        seen,
        "A firewall refuses it, or that name leads to another machine: a router in front of the "
        "server has to pass the port on.",
        f"see that {address.rpartition(':')[0] or 'the name'} is the server itself, and that a "
        f"router in front of it passes TCP {port} on; then the firewall on the server:",
        *_look(value_of(facts.live.firewall)),
        fold=fold,
    )


def _firewall_advice(firewall: Firewall | None, allows: bool | None, port: int) -> tuple[str, ...]:
    provider = PROVIDER.format(port=port)
    if firewall is not None and (allows is True or not firewall.is_active):
        lets = "lets it in" if firewall.is_active else "is not active"
        return (
            f"{firewall.tool} on the server {lets}, so it is one in front of the server:",
            provider.removeprefix("else "),
        )
    if firewall is not None:
        return ("the firewall on the server:", *_look(firewall), provider)
    return (
        "on the server, where ufw is its firewall:",
        line(f"sudo ufw allow {port}/tcp"),
        provider,
    )


def _look(firewall: Firewall | None) -> tuple[str, ...]:
    tool = "nftables" if firewall is None else firewall.tool
    shown = {
        "ufw": "sudo ufw status",
        "firewalld": "sudo firewall-cmd --list-all",
        "iptables": "sudo iptables -S INPUT",
    }.get(tool, "sudo nft list ruleset")
    return (line(shown),)


def _open(firewall: Firewall, port: int) -> str:
    """The command that lets the port in, by the server's own tool."""
    match firewall.tool:
        case "ufw":
            return f"sudo ufw allow {port}/tcp"
        case "firewalld":
            permanent = f"sudo firewall-cmd --permanent --add-port={port}/tcp"
            return f"{permanent} && sudo firewall-cmd --reload"
        case "iptables":
            return f"sudo iptables -I INPUT -p tcp --dport {port} -j ACCEPT"
    return f"sudo nft list ruleset    (and let TCP {port} in, where it is dropped)"


def server_name(facts: Facts, asked: Asked, forward: Forward) -> str:
    """ "vps.example.com:12345": what a visitor types."""
    host = host_of(facts, asked)
    trial = own(facts, forward)
    port = (trial.port if trial is not None else None) or forward.listen_port
    if trial is not None and trial.address:
        return trial.address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
