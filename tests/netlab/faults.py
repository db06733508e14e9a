"""What befalls a lab, as verbs.

Laws. A fault that lasts has a verb that ends it, and `heal` ends them all. Done twice is done once.
What a verb says is a fact when it returns. Only processes of the lab are ever signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.netlab.clocks import let_boot_clock_run_ahead
from tests.netlab.home_net import ROUTER6, HomeNet
from tests.netlab.hosts import HERE, PYTHON, Program, nsenter_above
from tests.support.processes import process
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.netlab.lab import Lab

ADDRESSES = 240  # of each kind, given in turn
RELAY = str(HERE / "relay.py")
FIREWALLS = ("firewall", "firewall_reject", "upstream_firewall")
SLOW_TABLE = 100  # the routing table that leads into the relay


class Faults:
    """`lab.faults.silence(); …; lab.faults.speak()`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.home_net = HomeNet(1, lab.nat)
        self._public = 1
        self._lost: set[str] = set()  # networks that have been the home's
        self._rules: dict[str, list[str]] = {}  # fault -> rules of the internet's FORWARD
        self._relay: Program | None = None
        self._has_route = True
        self._has_cable = True
        self._frozen: set[int] = set()
        self._asleep: list[int] = []
        self._slept = 0  # seconds in all
        self._held: list[tuple[int, Program]] = []
        self._walls: dict[str, list[str]] = {}  # the same of the server's INPUT

    @property
    def public4(self) -> str:
        """The router's address on the internet."""
        return f"198.51.100.{self._public + 9}"

    def in_force(self) -> list[str]:
        """The faults that last, by the verb that began them."""
        found = list(self._rules)
        found += ["delay"] if self._relay else []
        found += [] if self._has_route else ["no_route"]
        found += [] if self._has_cable else ["cable_out"]
        found += [f"freeze {pid}" for pid in sorted(self._frozen)]
        found += list(self._walls)
        found += [f"hold_port {port}" for port, program in self._held if program.is_alive]
        return found

    def heal(self) -> None:
        """End all that lasts; addresses stay as they have become."""
        self.speak()
        self.loss(0)
        self.delay(0)
        self.cable_in()
        self.route()
        self.wake(0)
        self.home_on()
        self.server_on()
        for pid in list(self._frozen):
            self.thaw(pid)
        for port, _ in list(self._held):
            self.release_port(port)
        for fault in [*self._walls, *self._rules]:
            verb, _, port = fault.partition(" ")
            if verb in FIREWALLS:
                self.let_through(int(port))

    # --- processes -----------------------------------------------------------------------------

    def kill(self, pid: int, number: int = signal.SIGKILL) -> float:
        """Signal a process of the lab (its pid as seen from outside); when (monotonic).

        After KILL it is gone.
        """
        self._check(pid)
        above = nsenter_above(pid)
        os.kill(pid, number)
        moment = time.monotonic()
        if number == signal.SIGKILL:
            if pid in self._frozen and above is not None:
                os.kill(above, signal.SIGCONT)
            self._frozen.discard(pid)
            wait_for(lambda: process(pid) is None, what=f"{pid} is gone")
        return moment

    def freeze(self, pid: int) -> None:
        """STOP: alive for the kernel, which still acknowledges, and deaf."""
        self._check(pid)
        _stop(pid)
        self._frozen.add(pid)

    def thaw(self, pid: int) -> None:
        """CONT; no error where it is gone."""
        self._frozen.discard(pid)
        if process(pid) is None:
            return
        self._check(pid)
        _go_on(pid)

    def suspend(self) -> None:
        """The home sleeps: nothing of it runs, and no packet gets in or out."""
        if "suspend" not in self._rules:
            self._set_rules("suspend", ["-i home -j DROP", "-o home -j DROP"])
            awake = [one.pid for one in self.lab.home.processes()]
            self._asleep = [pid for pid in awake if pid not in self._frozen]
            for pid in self._asleep:
                _stop(pid)

    def wake(self, slept: int = 600) -> None:
        """It goes on, `slept` seconds later by the boot clock of sshwrap's processes there.

        Those have to be root's (see clocks.py); the others keep their clock.
        """
        if "suspend" not in self._rules:
            return
        asleep = [found for pid in self._asleep if (found := process(pid)) is not None]
        if slept:
            self._slept += slept
            for one in asleep:
                if any(word.startswith("sshwrap") for word in one.argv):
                    let_boot_clock_run_ahead(one.pid, self._slept)
        self._set_rules("suspend", [])
        for one in asleep:
            _go_on(one.pid)
        self._asleep.clear()

    def _check(self, pid: int) -> None:
        if not any(host.has(pid) for host in self.lab.hosts):
            raise ProcessLookupError(f"process {pid} is not of this lab")

    # --- the line ------------------------------------------------------------------------------

    def rst(self, port: int = 22) -> int:
        """Reset the server's connections at `port` on both ends at once; how many there were."""
        done = self.lab.server.run(
            *("ss", "-H", "-K", "state", "established", f"sport = :{port}"), tools=True
        )
        return len(done.stdout.splitlines())

    def silence(self) -> None:
        """Every packet between the home and the internet is lost, both ways, without a word."""
        self._set_rules("silence", ["-i home -j DROP", "-o home -j DROP"])

    def speak(self) -> None:
        self._set_rules("silence", [])

    def loss(self, share: float) -> None:
        """That share (0 to 1) of the home's packets is lost, each way; 0 ends it."""
        match = f"-m statistic --mode random --probability {share}"
        rules = [f"-i home {match} -j DROP", f"-o home {match} -j DROP"]
        self._set_rules("loss", rules if share else [])

    def delay(self, round_trip: float) -> None:
        """Seconds that a packet and its answer take longer, half of them each way; 0 ends it."""
        internet = self.lab.internet
        if self._relay is not None:
            self._lead_around("del")
            self._relay.signal(signal.SIGTERM)
            self._relay.wait()
            self._relay = None
        if not round_trip:
            return
        # Its /dev/net/tun is the machine's; its device is born in the internet's namespace.
        relay = internet.popen(*PYTHON, RELAY, "slow", str(round_trip / 2), tools=True)
        relay.wait_for_words("ready")
        internet.ip("link set slow up mtu 1500", f"route add default dev slow table {SLOW_TABLE}")
        if self.lab.ipv6:
            internet.ip(f"-6 route add default dev slow table {SLOW_TABLE}")
        self._relay = relay
        self._lead_around("add")

    def _lead_around(self, verb: str) -> None:
        """What comes from the home or goes there is led through the relay, once.

        What comes out of it has another incoming interface, and takes the main table.
        """
        home4 = "198.51.100.0/24" if self.lab.nat else "198.18.0.0/16"
        home6 = "2001:db8:aa::/48"
        four = ("iif home", f"to {home4} iif server", f"to {home4} iif visitor")
        six = ("iif home", f"to {home6} iif server", f"to {home6} iif visitor")
        self.lab.internet.ip(
            *(f"rule {verb} {match} lookup {SLOW_TABLE}" for match in four),
            *(f"-6 rule {verb} {match} lookup {SLOW_TABLE}" for match in six if self.lab.ipv6),
        )

    def _set_rules(self, fault: str, rules: list[str]) -> None:
        old = self._rules.pop(fault, [])
        commands = [f"-D FORWARD {rule}" for rule in old]
        commands += [f"-I FORWARD {rule}" for rule in rules]
        if rules:
            self._rules[fault] = rules
        programs = ("iptables", "ip6tables") if self.lab.ipv6 else ("iptables",)
        lines = [f"{program} -w {command}" for program in programs for command in commands]
        if lines:
            self.lab.internet.run("sh", "-ec", "\n".join(lines), tools=True)

    # --- firewalls -----------------------------------------------------------------------------

    def firewall(self, port: int) -> None:
        """The server's own: what comes to that port, but from itself, is lost without a word."""
        drop = {"iptables": "DROP", "ip6tables": "DROP"}
        self._wall(f"firewall {port}", port, drop)

    def firewall_reject(self, port: int) -> None:
        """The same, and told, as firewalld and some clouds' images do."""
        prohibited = {
            "iptables": "REJECT --reject-with icmp-host-prohibited",
            "ip6tables": "REJECT --reject-with icmp6-adm-prohibited",
        }
        self._wall(f"firewall_reject {port}", port, prohibited)

    def upstream_firewall(self, port: int) -> None:
        """The provider's: it is lost before it comes to the server, which can not see that."""
        fault = f"upstream_firewall {port}"
        if fault not in self._rules:
            self._set_rules(fault, [f"-o server -p tcp --dport {port} -j DROP"])

    def let_through(self, port: int) -> None:
        """No firewall keeps anybody from that port any more."""
        for fault in (f"{name} {port}" for name in FIREWALLS):
            for command in self._walls.pop(fault, []):
                self._at_the_server(command.replace("-I", "-D"))
            self._set_rules(fault, [])

    def _wall(self, fault: str, port: int, targets: dict[str, str]) -> None:
        if fault in self._walls:
            return
        rule = f"-w -I INPUT ! -i lo -p tcp --dport {port} -j"
        programs = ("iptables", "ip6tables") if self.lab.ipv6 else ("iptables",)
        self._walls[fault] = []
        for program in programs:
            command = f"{program} {rule} {targets[program]}"
            self._at_the_server(command)
            self._walls[fault].append(command)

    def _at_the_server(self, command: str) -> None:
        self.lab.server.run(*command.split(), tools=True)

    # --- routes and addresses ------------------------------------------------------------------

    def no_route(self) -> None:
        """The home has no way out any more, and its kernel says so."""
        if self._has_route:
            self._has_route = False
            self._routes(lambda prefix, gateway: f"{prefix}route del default")

    def route(self) -> None:
        if not self._has_route:
            self._has_route = True
            self._routes(lambda prefix, gateway: f"{prefix}route add default via {gateway}")

    def _routes(self, command: Callable[[str, str], str]) -> None:
        commands = [command("", self.home_net.router4)]
        if self.lab.ipv6:
            commands.append(command("-6 ", self.home_net.router6))
        self.lab.home.ip(*commands)

    def cable_out(self) -> None:
        """The home's interface loses its carrier; addresses and routes stay, and lead nowhere."""
        if self._has_cable:
            self._has_cable = False
            self.lab.router.ip("link set lan down")
            self._wait_for_carrier(False)

    def cable_in(self) -> None:
        if not self._has_cable:
            self._has_cable = True
            self.lab.router.ip("link set lan up")
            self._wait_for_carrier(True)

    def _wait_for_carrier(self, there: bool) -> None:
        def flags() -> str:
            return self.lab.home.run("ip", "-o", "link", "show", "lan", tools=True).stdout

        wait_for(lambda: ("NO-CARRIER" not in flags()) is there, within=20, what=flags)

    def address_change(self, *, home: bool = False) -> None:
        """The provider gives the home another address, as it does at night.

        Behind NAT it is the router's public one, and nothing changes at home, unless `home`: then
        the home's own IPv6 network does as well, of which its kernel knows. Without NAT both of
        the home's networks do. What goes to the old address is lost without a word: the old
        connections are dead, and the server is told nothing.
        """
        lab, old_public = self.lab, self.public4
        self._public = self._public % ADDRESSES + 1
        lab.router.ip(
            f"addr del {old_public}/24 dev wan",
            f"addr add {self.public4}/24 dev wan",
            "route replace default via 198.51.100.1",
        )
        self._lose(f"{old_public}/32", f"{self.public4}/32")
        if home or not lab.nat:
            old = self.home_net
            self.home_net = HomeNet(old.number % ADDRESSES + 1, old.nat)
            if not lab.nat:
                self._renumber("", "24", "4", self.public4, old)
            if lab.ipv6:
                self._renumber("-6 ", "64", "6", ROUTER6, old)

    def _lose(self, old: str, new: str) -> None:
        """What goes to the old network is lost from now on, and what goes to the new one is not."""

        def command(verb: str, net: str) -> str:
            return f"{'-6 ' if ':' in net else ''}route {verb} blackhole {net}"

        commands = [command("add", old)]
        if new in self._lost:  # all have been given once
            commands.append(command("del", new))
        self._lost = self._lost - {new} | {old}
        self.lab.internet.ip(*commands)

    def _renumber(self, prefix: str, bits: str, family: str, via: str, old: HomeNet) -> None:
        new = self.home_net

        def of(net: HomeNet, what: str) -> str:
            return str(getattr(net, what + family))

        nodad = " nodad" if prefix else ""
        lab = self.lab
        lab.router.ip(
            f"{prefix}addr add {of(new, 'router')}/{bits} dev lan{nodad}",
            f"{prefix}addr del {of(old, 'router')}/{bits} dev lan",
        )
        commands = [f"{prefix}addr add {of(new, 'host')}/{bits} dev lan{nodad}"]
        commands += [f"{prefix}addr del {of(old, 'host')}/{bits} dev lan"]
        if self._has_route:
            commands += [f"{prefix}route replace default via {of(new, 'router')}"]
        lab.home.ip(*commands)
        lab.internet.ip(f"{prefix}route del {of(old, 'net')}")
        self._lose(of(old, "net"), of(new, "net"))
        lab.internet.ip(f"{prefix}route add {of(new, 'net')} via {via}")

    # --- the machines --------------------------------------------------------------------------

    def home_off(self) -> None:
        """The home's machine loses its power: nobody is told, neither the server nor the router."""
        if "home_off" not in self._rules:
            self._set_rules("home_off", ["-i home -j DROP", "-o home -j DROP"])
            self.lab.home.power_off()

    def home_on(self) -> None:
        """It has booted, with another boot id, and serves its pages; nobody started a tunnel."""
        if "home_off" in self._rules:
            self.lab.home.boot()
            self.lab.serve_pages_again()
            self._set_rules("home_off", [])

    def home_reboot(self) -> None:
        self.home_off()
        self.home_on()

    def server_off(self) -> None:
        """The server loses its power, without a word: no FIN, no RST, nothing unreachable."""
        if "server_off" not in self._rules:
            self._set_rules("server_off", ["-i server -j DROP", "-o server -j DROP"])
            self.lab.server.power_off()

    def server_on(self) -> None:
        """It has booted, with another boot id, and its sshd as it was."""
        if "server_off" in self._rules:
            self.lab.server.power_on()
            self._set_rules("server_off", [])

    def server_reboot(self) -> None:
        """Off and on again; a packet of an old connection is answered by RST from then on."""
        self.server_off()
        self.server_on()

    def hold_port(self, port: int, families: str = "both", *, account: str = "root") -> Program:
        """Another program on the server has the port, on "v4", "v6" or "both", until stopped."""
        program = self.lab.server.hold_port(port, families, account=account)
        self._held.append((port, program))
        return program

    def take_port(self, port: int, families: str = "both", *, account: str = "root") -> Program:
        """The same, from a tunnel that has it: there is no moment in which the tunnel could."""
        program = self.lab.server.take_port(port, families, account=account)
        self._held.append((port, program))
        return program

    def release_port(self, port: int) -> None:
        """Whatever a fault holds there is let go."""
        for held, program in self._held:
            if held == port:
                program.stop()
        self._held = [(held, program) for held, program in self._held if held != port]


def _state(pid: int) -> str:
    found = process(pid)
    return found.state if found else ""


def _stop(pid: int) -> None:
    """Return when it stands still, or has gone."""
    above = nsenter_above(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    # nsenter stops itself when it sees that; else it might do so after the process goes on.
    stopped = [pid] if above is None else [pid, above]
    wait_for(
        lambda: all(_state(one) in ("T", "") for one in stopped),
        within=20,
        what=lambda: f"{stopped} stand still: {[_state(one) for one in stopped]}",
    )


def _go_on(pid: int) -> None:
    for one in (pid, nsenter_above(pid)):
        if one is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)
    wait_for(lambda: _state(pid) != "T", what=f"{pid} goes on")
