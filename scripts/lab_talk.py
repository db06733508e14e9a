"""What the commands of `scripts/lab` do to the lab, and the faults in words for people.

Laws. Whatever was asked wrongly is a ValueError that says how to ask.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.netlab import runtime
from tests.netlab.clocks import missing_for_suspend
from tests.netlab.faults import Faults
from tests.netlab.lab import SERVER4, SERVER6, VISITOR4, Lab
from tests.netlab.server import Value
from tests.support.processes import Process

PROFILES = """# The lab's example; the page is at localhost:8080.
[profile.web]
destination = "tunnel@vps.example.com"
remote_forward = "*:12345:localhost:8080"
"""
# Of the checkout, where an account without rights can read it as well.
SSHWRAP = f"""#!/bin/sh
exec {runtime.PYTHON} -m sshwrap "$@"
"""


class Talk:
    """`do("fault", ["silence"])` -> what to print."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.is_over = False
        self._do: dict[str, Callable[[Sequence[str]], str]] = {
            "down": self._down,
            "enter": self._enter,
            "fault": self._fault,
            "sshd": self._sshd,
            "status": lambda _: "\n".join(self._status()),
        }

    def furnish(self) -> None:
        """A page, a profile, `sshwrap`, and an sshd that gives a port to everybody."""
        self.lab.server.start_sshd(GatewayPorts="clientspecified")
        self.lab.serve_page(8080, "hello from home")
        self.lab.home.put("/srv/bin", None, mode=0o755)
        self.lab.home.put("/srv/bin/sshwrap", SSHWRAP, mode=0o755)
        for account in ("root", "you"):
            home = self.lab.home.accounts[account].home
            for folder in (f"{home}/.config", f"{home}/.config/sshwrap"):
                self.lab.home.put(folder, None, account, 0o700)
            self.lab.home.put(f"{home}/.config/sshwrap/profiles.toml", PROFILES, account)

    def do(self, verb: str, words: Sequence[str]) -> str:
        return self._do[verb](words)

    def _down(self, _: Sequence[str]) -> str:
        self.is_over = True
        return ""

    def _enter(self, words: Sequence[str]) -> str:
        name, account, *command = words
        host = next(host for host in self.lab.hosts if host.name == name)
        if account not in host.accounts:
            raise ValueError(f"no account {account!r} at {name}: {', '.join(host.accounts)}")
        tools = name == "visitor" and command[0] == sys.executable
        env = host.environ(account)
        if name == "home":
            env |= runtime.environment() | {"PATH": f"/srv/bin:{env['PATH']}"}
        env["PS1"] = rf"[lab] {account}@{name}:\w\$ "
        argv = host.enter(*command, account=account, tools=tools)
        return json.dumps({"argv": argv, "env": env})

    def _sshd(self, words: Sequence[str]) -> str:
        options: dict[str, Value] = {}
        for word in words:
            keyword, sign, value = word.partition("=")
            if not keyword or not sign:
                raise ValueError(f"{word!r} is not KEYWORD=VALUE")
            options[keyword] = value
        before = dict(self.lab.server.options)
        self.lab.server.options |= options
        try:
            self.lab.server.restart_sshd()
        except RuntimeError:
            self.lab.server.options = before
            self.lab.server.start_sshd()
            raise
        return f"sshd runs with {' '.join(words)}"

    def _status(self) -> list[str]:
        lab = self.lab
        net = lab.faults.home_net
        home = f"{net.host4}, behind {lab.faults.public4}" if lab.nat else net.host4
        lines = [f"home      {home}" + (f"   {net.host6}" if lab.ipv6 else "")]
        lines += [f"server    {SERVER4}" + (f"   {SERVER6}" if lab.ipv6 else "")]
        lines += [f"visitor   {VISITOR4}", ""]
        faults = lab.faults.in_force()
        if "server_off" in faults:
            lines.append("the server is off")
        else:
            version = ".".join(map(str, lab.server.version()))
            lines.append(f"server's sshd {version}, {len(lab.server.sessions())} signed in")
            said = lab.server.run("ss", "-H", "-l", "-t", "-n", tools=True).stdout
            listens = sorted(line.split()[3] for line in said.splitlines())
            lines.append(f"server listens at {', '.join(listens) or 'nothing'}")
        lines.append(f"faults: {', '.join(faults) or 'none'}")
        lines.append(f"kept by process {os.getpid()}")
        return lines

    def _fault(self, words: Sequence[str]) -> str:
        name, *arguments = words
        verb = next((verb for verb in VERBS if verb.name == name), None)
        if verb is None:
            names = ", ".join(verb.name for verb in VERBS)
            raise ValueError(f"no fault {name!r}: {names}")
        if not verb.least <= len(arguments) <= verb.most:
            raise ValueError(f"scripts/lab fault {verb.usage}")
        said = verb.do(self, arguments)
        return said or f"faults: {', '.join(self.lab.faults.in_force()) or 'none'}"

    def pid(self, words: Sequence[str]) -> int:
        """ "ssh" (the default) is the home's, "session" the server's end of it; or a pid."""
        word = words[0] if words else "ssh"
        if word.isdecimal():
            return int(word)
        if word == "ssh":
            found = [one.pid for one in self.lab.home.processes() if _is_ssh(one)]
        elif word == "session":
            found = self.lab.server.sessions()
        else:
            raise ValueError(f"{word!r} is none of ssh, session and a pid")
        if len(found) != 1:
            raise ValueError(f"not one {word} but {found or 'none'}: name the pid")
        return found[0]


def _is_ssh(one: Process) -> bool:
    return Path(one.argv[0]).name == "ssh"


@dataclass(frozen=True, slots=True)
class Verb:
    """`usage` is its name and what may follow; `least` and `most` words follow."""

    usage: str
    help: str
    do: Callable[[Talk, Sequence[str]], str | None]
    least: int = 0
    most: int = 0

    @property
    def name(self) -> str:
        return self.usage.partition(" ")[0]


def _plain(fault: Callable[[Faults], object]) -> Callable[[Talk, Sequence[str]], str | None]:
    def do(talk: Talk, _: Sequence[str]) -> None:
        fault(talk.lab.faults)

    return do


def _to_a_process(
    fault: Callable[[Faults, int], object],
) -> Callable[[Talk, Sequence[str]], str | None]:
    def do(talk: Talk, words: Sequence[str]) -> None:
        fault(talk.lab.faults, talk.pid(words))

    return do


def _rst(talk: Talk, _: Sequence[str]) -> str:
    return f"connections reset: {talk.lab.faults.rst()}"


def _loss(talk: Talk, words: Sequence[str]) -> None:
    share = float(words[0])
    if not 0 <= share <= 1:
        raise ValueError(f"{words[0]!r} is not 0 to 1")
    talk.lab.faults.loss(share)


def _delay(talk: Talk, words: Sequence[str]) -> None:
    seconds = float(words[0])
    if not 0 <= seconds <= 60:
        raise ValueError(f"{words[0]!r} is not 0 to 60")
    talk.lab.faults.delay(seconds)


def _address(talk: Talk, words: Sequence[str]) -> None:
    if words not in ([], ["home"]):
        raise ValueError(f"{words[0]!r} is not home (scripts/lab fault address_change [home])")
    talk.lab.faults.address_change(home=bool(words))


def _suspend(talk: Talk, _: Sequence[str]) -> str:
    talk.lab.faults.suspend()
    return (
        "faults: suspend\n"
        "(a shell takes what it had in front for stopped: after `fault wake` type fg there)"
    )


def _wake(talk: Talk, words: Sequence[str]) -> None:
    slept = words[0] if words else "600"
    if not slept.isdecimal():
        raise ValueError(f"{slept!r} is no number of seconds")
    if int(slept) and (reason := missing_for_suspend()) is not None:
        raise ValueError(f"{reason} (scripts/lab fault wake 0: its clock does not tell)")
    try:
        talk.lab.faults.wake(int(slept))
    except PermissionError:
        raise ValueError(
            "only root's sshwrap can be told how long it has slept (fault wake 0 does not tell it)"
        ) from None


def _hold(talk: Talk, words: Sequence[str]) -> None:
    families = words[1] if len(words) > 1 else "both"
    if families not in ("v4", "v6", "both"):
        raise ValueError(f"{families!r} is none of v4, v6 and both")
    port = int(words[0])
    ours = talk.lab.server.sessions() and talk.lab.server.listeners(port) and port != 22
    hold = talk.lab.faults.take_port if ours else talk.lab.faults.hold_port
    hold(port, families)


def _at_a_port(
    fault: Callable[[Faults, int], object],
) -> Callable[[Talk, Sequence[str]], str | None]:
    def do(talk: Talk, words: Sequence[str]) -> None:
        if not words[0].isdecimal() or not 0 < int(words[0]) < 65536:
            raise ValueError(f"{words[0]!r} is no port")
        fault(talk.lab.faults, int(words[0]))

    return do


VERBS = (
    Verb("kill [ssh|session|PID]", "the home's ssh, or another", _to_a_process(Faults.kill), 0, 1),
    Verb("freeze [ssh|session|PID]", "STOP: alive, and deaf", _to_a_process(Faults.freeze), 0, 1),
    Verb("thaw [ssh|session|PID]", "it goes on", _to_a_process(Faults.thaw), 0, 1),
    Verb("rst", "the connection is reset on both ends", _rst),
    Verb("silence", "nothing gets through, either way", _plain(Faults.silence)),
    Verb("speak", "it does again", _plain(Faults.speak)),
    Verb("loss SHARE", "0.3: 30 % of the packets get lost; 0: none", _loss, 1, 1),
    Verb("delay SECONDS", "a round trip takes that much longer; 0: no more", _delay, 1, 1),
    Verb("no_route", "the home has no way out", _plain(Faults.no_route)),
    Verb("route", "it has again", _plain(Faults.route)),
    Verb("cable_out", "the home's cable is out", _plain(Faults.cable_out)),
    Verb("cable_in", "it is in again", _plain(Faults.cable_in)),
    Verb("address_change [home]", "another public address; home: and network", _address, 0, 1),
    Verb("suspend", "the home sleeps", _suspend),
    Verb("wake [SECONDS]", "it goes on, having slept that long by root's clock", _wake, 0, 1),
    Verb("home_off", "the home loses its power", _plain(Faults.home_off)),
    Verb("home_on", "it has booted, without a tunnel", _plain(Faults.home_on)),
    Verb("home_reboot", "off and on", _plain(Faults.home_reboot)),
    Verb("server_off", "the server loses its power", _plain(Faults.server_off)),
    Verb("server_on", "it has booted", _plain(Faults.server_on)),
    Verb("server_reboot", "off and on", _plain(Faults.server_reboot)),
    Verb("hold_port PORT [v4|v6|both]", "another program on the server has it", _hold, 1, 2),
    Verb("release_port PORT", "it lets go", _at_a_port(Faults.release_port), 1, 1),
    Verb("firewall PORT", "the server's drops what comes there", _at_a_port(Faults.firewall), 1, 1),
    Verb("firewall_reject PORT", "… and says so", _at_a_port(Faults.firewall_reject), 1, 1),
    Verb(
        "upstream_firewall PORT",
        "one in front of the server drops it",
        _at_a_port(Faults.upstream_firewall),
        *(1, 1),
    ),
    Verb("let_through PORT", "no firewall does", _at_a_port(Faults.let_through), 1, 1),
    Verb("heal", "all that lasts ends", _plain(Faults.heal)),
)
