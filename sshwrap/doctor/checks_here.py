"""The checks of this machine: ssh, its configuration, keys and agent, and the targets."""

from __future__ import annotations

import shlex

from sshwrap.doctor.facts import (
    NOT_ASKED,
    Answer,
    ClientConfig,
    Connected,
    Facts,
    Identity,
    Known,
    Port,
    Target,
    Unknown,
    value_of,
)
from sshwrap.doctor.judging import (
    Asked,
    Judged,
    command,
    fail,
    is_loopback_named,
    line,
    ok,
    own,
    seconds_text,
    signed_in,
    unknown,
    warn,
)
from sshwrap.profile.forward import Forward, Kind, describe_connect, describe_listen
from sshwrap.profile.listeners import why_both_cannot_be
from sshwrap.ssh.version import MINIMUM

YES = ("yes", "true")
NO = ("no", "false", "none", "")
OTHERS_MAY = 0o077  # readconf: sshkey_perm_ok refuses a private key that group or others may touch


def ssh_version(facts: Facts, asked: Asked) -> Judged:
    if facts.here.ssh == NOT_ASKED:
        return unknown(NOT_ASKED)
    if isinstance(facts.here.ssh, Unknown):  # it was asked for, and there is none that serves
        said = facts.here.ssh.said
        return fail(
            f"no usable ssh: {facts.here.ssh.reason}",
            f"It said: {said}" if said else "Without OpenSSH's ssh there is no tunnel.",
            f"install OpenSSH's client, {MINIMUM} or newer (Debian: apt install openssh-client); "
            "where it lies elsewhere, name it:",
            line(f"SSHWRAP_SSH=/usr/local/bin/ssh {asked.doctor()}"),
            fold="no usable ssh",
        )
    version = facts.here.ssh.value
    if version >= MINIMUM:
        return ok(version.text or f"OpenSSH {version}", f"OpenSSH {version}")
    return fail(
        f"OpenSSH {version} is older than {MINIMUM}",
        f"Before {MINIMUM} busy local traffic keeps ssh from ever noticing that a line is dead.",
        "install a newer one; where it lies elsewhere, name it:",
        line(f"SSHWRAP_SSH=/usr/local/bin/ssh {asked.doctor()}"),
    )


def ssh_config(facts: Facts, asked: Asked) -> Judged:
    if facts.here.fault:
        return fail(
            facts.here.fault,
            "sshwrap up refuses it for that reason, before anything is tried.",
            "change the profile, or what ssh_config says of this destination:",
            line("sshwrap check"),
        )
    if isinstance(facts.here.config, Unknown):
        return unknown(facts.here.config)
    config = facts.here.config.value
    clash = _clash(config, asked) or _held(facts, config, asked)
    if clash is not None:
        return clash
    notes = _notes(config, asked)
    return ok("; ".join(notes) if notes else "nothing in it gets into the way")


def _clash(config: ClientConfig, asked: Asked) -> Judged | None:
    """A forward of ssh_config that cannot be together with one of the profile's."""
    for added in config.forwards:
        for mine in asked.profile.forwards:
            same = why_both_cannot_be(mine, added)
            if same is not None:
                return fail(
                    f"ssh_config asks for {same} as the profile: "
                    f"{_option(added)} and {_option(mine)}",
                    "ssh asks for both, the second one fails, and with it the whole tunnel.",
                    f"remove one of the two; the other one stands in {added.source}",
                    fold=f"ssh_config has the forward {describe_listen(added)} as well",
                )
    return None


def _held(facts: Facts, config: ClientConfig, asked: Asked) -> Judged | None:
    """A forward that ssh_config adds to those of the profile, and that fails."""
    if not asked.profile.forwards:
        return None  # ssh_config's are the ones that are meant
    for added in config.forwards:
        trial = own(facts, added)
        refused = trial is not None and trial.reach is None
        if added.kind is Kind.REMOTE and (refused or _is_taken(facts.ports, added)):
            return warn(
                f"ssh_config adds {_option(added)}, and that port cannot be had",
                "A forward that fails ends the whole tunnel, also those of the profile.",
                f"remove it, or give it a Host of its own; it stands in {added.source}",
                fold=f"ssh_config adds {describe_listen(added)}, which fails",
            )
    return None


def _is_taken(ports: tuple[Port, ...], forward: Forward) -> bool:
    return any(
        port.forward == forward
        and isinstance(port.holders, Known)
        and bool(port.holders.value)
        and not port.is_ours
        for port in ports
    )


def _notes(config: ClientConfig, asked: Asked) -> list[str]:
    """What surprises people, and does no harm: what sshwrap sets itself comes first."""

    def value(keyword: str) -> str:
        return " ".join(config.values.get(keyword, ())).strip().lower()

    notes = []
    if asked.profile.forwards and config.forwards:
        shown = ", ".join(map(_option, config.forwards))
        notes.append(f"ssh_config adds {shown}")
    if value("controlmaster") not in NO or value("controlpath") not in NO:
        notes.append("its ControlMaster is not used: sshwrap has a control socket of its own")
    if value("localcommand") not in NO and value("permitlocalcommand") in YES:
        notes.append("its LocalCommand is not run")
    if value("remotecommand") not in NO:
        notes.append("its RemoteCommand is not run")
    if value("clearallforwardings") in YES:
        notes.append("its ClearAllForwardings is overridden")
    if value("gatewayports") in YES:
        notes.append("its GatewayPorts (as -g) is for -L and -D: for -R the server decides")
    return notes


def _option(forward: Forward) -> str:
    flag = {Kind.REMOTE: "-R", Kind.LOCAL: "-L", Kind.DYNAMIC: "-D"}[forward.kind]
    return f"{flag} {forward.spec}"


# --- keys ------------------------------------------------------------------------------------


def identity_file(facts: Facts, asked: Asked) -> Judged:
    if isinstance(facts.here.identities, Unknown):
        return unknown(facts.here.identities)
    tries = _tries(facts.here.identities.value)
    held = value_of(facts.here.agent) or ()
    usable = [one for one in tries if _fault(one, asked, held) is None]
    faults = [fault for one in tries if (fault := _fault(one, asked, held)) is not None]
    named = any(one.from_profile for one in tries)
    if usable and not (named and faults):
        return ok(f"{usable[0].path} can be used")
    if faults:
        seen, why, advice = faults[0]
        # ssh goes on without that key: where it gets in all the same, nothing is broken now
        say = warn if usable or signed_in(facts) else fail
        return say(seen, why, *advice)
    if held or signed_in(facts):
        return ok("no key file of ssh's; " + ("the agent has keys" if held else "none is needed"))
    return warn(
        "there is no key for ssh here",
        "Without a key nobody but you can sign in: the tunnel cannot come back by itself.",
        "make one, and put it on the server:",
        line("ssh-keygen -t ed25519"),
        line(asked.ssh(program="ssh-copy-id")),
        fold="no key",
    )


def agent(facts: Facts, asked: Asked) -> Judged | None:
    """Only where a key needs one, or where it holds a key that ssh would use."""
    tries = _tries(value_of(facts.here.identities) or ())
    encrypted = [one for one in tries if one.is_encrypted]
    if isinstance(facts.here.agent, Unknown):
        return unknown(facts.here.agent) if encrypted else None
    held = facts.here.agent.value
    if any(one.fingerprint in held for one in tries if one.fingerprint):
        return ok("the agent holds the key", "the agent holds the key")
    if not encrypted:
        return ok(f"the agent holds {len(held)} other keys") if held else None
    if any(_fault(one, asked, held) is None for one in tries):
        return ok("the agent is not needed: another key has no passphrase")
    path = encrypted[0].path
    return warn(
        f"the agent does not hold {path}",
        "That key has a passphrase, and nobody is there to type it when the line comes back.",
        line(f"ssh-add {_word(path)}"),
        fold="the agent does not hold the key",
    )


_Fault = tuple[str, str, tuple[str, ...]]


def _tries(identities: tuple[Identity, ...]) -> list[Identity]:
    """The ones that were named; where none was, those of ssh's default names that exist."""
    named = [one for one in identities if one.from_profile]
    return named or [one for one in identities if one.exists]


def _fault(one: Identity, asked: Asked, held: tuple[str, ...]) -> _Fault | None:
    """Why ssh cannot use it alone: (seen, why, advice)."""
    if one.fingerprint is not None and one.fingerprint in held:
        return None  # the agent signs; the file is not opened
    path = _word(one.path)
    if not one.exists:
        return (
            f"the key {one.path} is not there",
            "The profile or ssh_config names it; ssh goes on without it.",
            ("correct the name, or make that key:", line(f"ssh-keygen -t ed25519 -f {path}")),
        )
    if not one.is_readable:
        return (
            f"the key {one.path} cannot be read by who runs this",
            "ssh skips a key that it cannot read.",
            (line(f"ls -l {path}"),),
        )
    if one.is_ours and one.mode is not None and one.mode & OTHERS_MAY:
        return (
            f"the key {one.path} may be touched by others (mode {one.mode:04o})",
            "ssh refuses a private key that group or others can read.",
            (line(f"chmod 600 {path}"),),
        )
    if one.is_encrypted:
        return (
            f"the key {one.path} has a passphrase, and no agent holds it",
            "Nobody is there to type it when the line comes back at night.",
            (
                "give it to an agent that stays:",
                line(f"ssh-add {path}"),
                "or make a key without a passphrase that may do no more than this:",
                command("ssh-keygen", "-t", "ed25519", "-N", "", "-f", f"{asked.name}_key"),
            ),
        )
    return None


def _word(path: str) -> str:
    """Quoted for a shell; a leading ~/ stays the shell's to expand."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)


# --- targets ---------------------------------------------------------------------------------


def target(facts: Facts, asked: Asked) -> Judged | None:
    wanted = [one for one in asked.remote if not one.is_socks]
    if not wanted:
        return None
    if isinstance(facts.here.targets, Unknown):
        return unknown(facts.here.targets)
    found = facts.here.targets.value
    silent = [one for one in found if one.connected.answer is not Answer.OPEN]
    if silent:
        return _silent(silent)
    if not found:
        return unknown("no target was tried")
    shown = ", ".join(dict.fromkeys(describe_connect(one.forward) for one in found))
    return ok(f"{shown} answers", f"{shown} answers")


def _silent(silent: list[Target]) -> Judged:
    first = silent[0]
    shown = describe_connect(first.forward)
    more = f", and {len(silent) - 1} more" if len(silent) > 1 else ""
    is_here = is_loopback_named(Forward(Kind.REMOTE, "", listen_host=first.forward.connect_host))
    is_here = is_here or first.forward.connect_path is not None
    where = " on this machine" if is_here else ""
    return fail(
        f"{shown} {_answer_text(first.connected)}{where}{more}",
        "The tunnel itself can be fine: visitors are let in and find nobody.",
        *_target_advice(first, shown, is_here),
        fold=f"{shown} {_answer_text(first.connected)}",
    )


def _answer_text(connected: Connected) -> str:
    match connected.answer:
        case Answer.REFUSED:
            return "refuses: nothing listens there"
        case Answer.TIMEOUT:
            return f"does not answer in {seconds_text(connected.seconds)}"
        case Answer.NO_ROUTE:
            return "cannot be reached"
        case Answer.UNRESOLVED:
            return "has a name without an address"
    return "answers"


def _target_advice(one: Target, shown: str, is_here: bool) -> tuple[str, ...]:
    if one.forward.connect_path is not None:
        return (
            "start the program that serves it; see the socket:",
            command("ls", "-l", one.forward.connect_path),
        )
    if is_here:
        look = f"ss -ltnp 'sport = :{one.forward.connect_port}'"
        return ("start the program that serves it; see who listens:", line(look))
    return (
        f"see that {shown} is switched on and lets this machine in:",
        command("nc", "-vz", one.forward.connect_host or "", str(one.forward.connect_port)),
    )
