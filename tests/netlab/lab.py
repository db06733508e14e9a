"""A small internet: a home behind a router, a server, a visitor, and all that lies between them.

    home ── router ── internet ── server      192.168.1.10 ── 198.51.100.10 ── … ── 203.0.113.7
                          └────── visitor     192.0.2.23

Laws. All addresses are of documentation and private networks, and no packet leaves the lab: its
interfaces lead only from one of its namespaces into another. `Lab` leaves nothing behind, also
where its process is killed. Root on Linux, with iproute2, iptables and util-linux: see `missing`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.netlab import runtime
from tests.netlab.faults import Faults
from tests.netlab.home_net import ROUTER6
from tests.netlab.hosts import NAMESPACES, PATH, PYTHON, Account, Host, Program
from tests.netlab.servers import make_server
from tests.netlab.visitor import Visitor
from tests.support.sshd import find_sshd
from tests.support.web import SERVER as WEB_SERVER

SERVER4, SERVER6 = "203.0.113.7", "2001:db8:113::7"
VISITOR4, VISITOR6 = "192.0.2.23", "2001:db8:2::23"
HOSTS = f"""127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
{SERVER4} vps.example.com vps4.example.com
{SERVER6} vps6.example.com
"""
YOU = Account("you", 5001, "/srv/you")
HOME_ROOT = Account("root", 0, "/srv/root")


# All that a lab asks of the kernel, in namespaces that end with the try. `$0` is an interpreter.
TRY = """
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/upper2 /mnt/work2
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
umount /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper2,workdir=/mnt/work2 overlay /mnt/root
mount -t proc proc /mnt/root/proc
mount --rbind /dev /mnt/root/dev
cat /proc/sys/kernel/random/boot_id >/mnt/boot_id
mount --bind /mnt/boot_id /mnt/root/proc/sys/kernel/random/boot_id
mount -t proc proc /proc
chroot /mnt/root ssh -V
ip link set lo up
ip link add one type veth peer name other
echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6
ip -6 addr add 2001:db8::1/64 dev one nodad
for iptables in iptables ip6tables; do
    $iptables -w -A FORWARD -m conntrack --ctstate INVALID -j DROP
    $iptables -w -A FORWARD -m statistic --mode random --probability 0.5 -j DROP
done
iptables -w -t nat -A POSTROUTING -o one -j MASQUERADE
echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose
echo 1 >/proc/sys/net/ipv6/conf/all/keep_addr_on_down
exec "$0" -S -E -c '
import socket, subprocess
listener = socket.create_server(("127.0.0.1", 0))
near = socket.create_connection(listener.getsockname(), timeout=20)
far, _ = listener.accept()
subprocess.run(["ss", "-K", "state", "all"], stdout=subprocess.DEVNULL, check=True)
try:
    near.send(b"?")
except OSError:
    raise SystemExit(0)
raise SystemExit("ss -K ends no connection: the kernel lacks CONFIG_INET_DIAG_DESTROY")
'
"""


@cache
def missing() -> str | None:
    """Why there can be no lab on this machine; None where there can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "only root can make hosts"
    programs = ("unshare", "nsenter", "mount", "chroot", "ip", "iptables", "ip6tables", "ss")
    for program in (*programs, "ssh", "ssh-keygen"):
        if shutil.which(program, path=PATH) is None:
            return f"no {program} on this machine"
    if find_sshd() is None:
        return "no sshd on this machine"
    argv = ["unshare", *NAMESPACES, "--fork", "--kill-child=KILL", "sh", "-ec", TRY, sys.executable]
    try:
        done = subprocess.run(
            argv,
            env=os.environ | {"PATH": PATH},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "this machine can make no hosts: trying it takes more than a minute"
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        return f"this machine can make no hosts: {said}"
    return None


@cache
def missing_for_delay() -> str | None:
    """Why no line can be made slow here: containers seldom have the device for it."""
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"no TUN device on this machine: {error}"
    return None


class Lab:
    """`with Lab(tmp_path) as lab: lab.server.start_sshd(); lab.home.run("ssh", …)`.

    `server`: what it runs, as scripts/systems has built it: "bullseye", "bookworm" or "trixie",
    their sshd; "systemd", all of bookworm; "dropbear". None is the machine's own sshd. `nat`: the
    home has a private IPv4 address behind the router's; else a public network of its own. `strict`:
    the router loses what belongs to no connection that it knows; else it takes up a connection in
    its middle, as Linux does unless told otherwise. `ipv6`: every host has addresses of it, or none
    (the kernel lets programs listen on "::" all the same; sshd's AddressFamily does not).
    In the home there are the accounts root and "you", with a key that the server takes:
    `ssh tunnel@vps.example.com` works there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        server: str | None = None,
        nat: bool = True,
        strict: bool = True,
        ipv6: bool = True,
    ) -> None:
        folder = folder.resolve()
        self.folder = folder
        self.nat = nat
        self.strict = strict
        self.ipv6 = ipv6
        self.home = Host("home", folder)
        self.router = Host("router", folder)
        self.internet = Host("internet", folder)
        self.server = make_server(server, "server", folder)
        self.visitor = Visitor("visitor", folder)
        self.hosts = (self.home, self.router, self.internet, self.server, self.visitor)
        self.faults = Faults(self)
        self._pages: list[tuple[int, str]] = []

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> Self:
        reason = missing()
        if reason is not None:
            raise RuntimeError(f"no lab: {reason}")
        try:
            self._make_home_folder()
            for host in self.hosts:
                host.start()
                (host.root / "etc/hosts").write_text(f"{HOSTS}127.0.1.1 {host.name}\n")
                (host.root / "etc/resolv.conf").unlink(missing_ok=True)
                (host.root / "etc/resolv.conf").write_text("")  # names fail at once
            self._wire()
            self._make_people()
        except BaseException:
            self.end()
            raise
        return self

    def end(self) -> None:
        """Every host at once; what they wrote stays in `folder`."""
        with contextlib.ExitStack() as stack:
            for host in self.hosts:
                stack.callback(host.end)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    # --- what a home has -----------------------------------------------------------------------

    @property
    def home_folder(self) -> Path:
        """The home's /srv, from outside: `lab.home_folder / "you"` is HOME of that account."""
        return self.folder / "srv"

    def serve_page(self, port: int = 8080, text: str = "hello") -> Program:
        """A web page on the home's loopback; it listens when this returns."""
        self._pages.append((port, text))
        return self._serve(port, text)

    def serve_pages_again(self) -> None:
        """After a boot."""
        for port, text in self._pages:
            self._serve(port, text)

    def _serve(self, port: int, text: str) -> Program:
        program = self.home.popen(*PYTHON, str(WEB_SERVER), str(port), text, tools=True)
        program.wait_for_words(str(port))
        return program

    def _make_home_folder(self) -> None:
        # Bound to /srv: a folder of pytest is too deep for Unix sockets, and open to root alone.
        self.home_folder.mkdir(mode=0o755, parents=True)
        self.home.binds.append((str(self.home_folder), "/srv"))
        self.home.binds += runtime.bind(self.home_folder)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]
        key = self.folder / "client_key"
        subprocess.run([*argv, str(key)], check=True, stdin=subprocess.DEVNULL)
        self.server.client_key = key.with_suffix(".pub").read_text().strip()

    def _make_people(self) -> None:
        key = (self.folder / "client_key").read_text()
        public = (self.server.root / f"{self.server.host_key[1:]}.pub").read_text()
        names = f"vps.example.com,vps4.example.com,vps6.example.com,{SERVER4},{SERVER6}"
        for account in (HOME_ROOT, YOU):
            self.home.add_account(account)
            folder = f"{account.home}/.ssh"
            self.home.put(folder, None, account.name, 0o700)
            self.home.put(f"{folder}/id_ed25519", key, account.name)
            self.home.put(f"{folder}/known_hosts", f"{names} {public}", account.name)
        self.server.authorize("root")

    # --- cables and routes ---------------------------------------------------------------------

    def _wire(self) -> None:
        for host in self.hosts:
            host.sysctl(
                net__ipv4__conf__all__rp_filter=0,
                net__ipv4__conf__default__rp_filter=0,
                net__ipv6__conf__all__disable_ipv6=int(not self.ipv6),
                net__ipv6__conf__default__disable_ipv6=int(not self.ipv6),
                # A host alone on its cable need not ask for two seconds whether it is alone.
                net__ipv6__conf__default__accept_dad=0,
                # A cable that is taken out and put in again does not cost the router's address.
                net__ipv6__conf__all__keep_addr_on_down=1,
                net__ipv6__conf__default__keep_addr_on_down=1,
            )
        for host in (self.router, self.internet):
            host.sysctl(net__ipv4__ip_forward=1)
            if self.ipv6:
                host.sysctl(net__ipv6__conf__all__forwarding=1)
        internet = self.internet.pid
        cables = (
            (self.home.pid, "lan", self.router.pid, "lan"),
            (self.router.pid, "wan", internet, "home"),
            (self.server.pid, "eth0", internet, "server"),
            (self.visitor.pid, "eth0", internet, "visitor"),
        )
        self.internet.ip(
            *(
                f"link add {name} netns {pid} type veth peer name {peer} netns {other}"
                for pid, name, other, peer in cables
            )
        )
        for host, names in (
            (self.home, ("lan",)),
            (self.router, ("lan", "wan")),
            (self.internet, ("home", "server", "visitor")),
            (self.server, ("eth0",)),
            (self.visitor, ("eth0",)),
        ):
            host.ip(*(f"link set {name} up" for name in ("lo", *names)))
        self._address()
        self._guard()

    def _address(self) -> None:
        net = self.faults.home_net
        self.home.ip(f"addr add {net.host4}/24 dev lan", f"route add default via {net.router4}")
        self.router.ip(
            f"addr add {net.router4}/24 dev lan",
            f"addr add {self.faults.public4}/24 dev wan",
            "route add default via 198.51.100.1",
        )
        self.internet.ip(
            "addr add 198.51.100.1/24 dev home",
            "addr add 203.0.113.1/24 dev server",
            "addr add 192.0.2.1/24 dev visitor",
        )
        if not self.nat:
            self.internet.ip(f"route add {net.net4} via {self.faults.public4}")
        self.server.ip(f"addr add {SERVER4}/24 dev eth0", "route add default via 203.0.113.1")
        self.visitor.ip(f"addr add {VISITOR4}/24 dev eth0", "route add default via 192.0.2.1")
        if not self.ipv6:
            return
        # nodad: an address that is still being looked up can not be used yet
        self.home.ip(
            f"-6 addr add {net.host6}/64 dev lan nodad", f"-6 route add default via {net.router6}"
        )
        self.router.ip(
            f"-6 addr add {net.router6}/64 dev lan nodad",
            f"-6 addr add {ROUTER6}/64 dev wan nodad",
            "-6 route add default via 2001:db8:51::1",
        )
        self.internet.ip(
            "-6 addr add 2001:db8:51::1/64 dev home nodad",
            "-6 addr add 2001:db8:113::1/64 dev server nodad",
            "-6 addr add 2001:db8:2::1/64 dev visitor nodad",
            f"-6 route add {net.net6} via {ROUTER6}",
        )
        self.server.ip(
            f"-6 addr add {SERVER6}/64 dev eth0 nodad", "-6 route add default via 2001:db8:113::1"
        )
        self.visitor.ip(
            f"-6 addr add {VISITOR6}/64 dev eth0 nodad", "-6 route add default via 2001:db8:2::1"
        )

    def _guard(self) -> None:
        """The router as people have it: nothing comes in unasked, what it does not know is lost.

        One that is not `strict` takes up a connection in its middle: the first packet after an
        address change reaches the server, whose RST tells the client at once.
        """
        self.router.sysctl(net__netfilter__nf_conntrack_tcp_loose=int(not self.strict))
        lines = ["FORWARD -m conntrack --ctstate INVALID -j DROP"] if self.strict else []
        lines += [
            "FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "FORWARD -i lan -j ACCEPT",
            "FORWARD -j DROP",
        ]
        rules = [f"iptables -w -A {line}" for line in lines]
        if self.ipv6:
            rules += [f"ip6tables -w -A {line}" for line in lines]
        if self.nat:
            rules.append("iptables -w -t nat -A POSTROUTING -o wan -j MASQUERADE")
        self.router.run("sh", "-ec", "\n".join(rules), tools=True)
