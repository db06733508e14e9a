"""What a server's packet filter says of a port, by the output of each tool."""

from __future__ import annotations

import pytest

from sshwrap.doctor.answers import Part
from sshwrap.doctor.facts import Firewall, Known, Unknown
from sshwrap.doctor.firewall import read_firewall

PORT = 12345


def read(table: str, text: str, **words: tuple[str, ...]) -> Firewall | None:
    tables = {table: tuple(text.splitlines())} if table else {}
    found = read_firewall(Part(words, tables), (PORT,))
    return found.value if isinstance(found, Known) else None


UFW = """Status: active
Logging: on (low)
Default: {policy} (incoming), allow (outgoing), disabled (routed)

To                         Action      From
--                         ------      ----
22/tcp                     ALLOW IN    Anywhere
{rule}
"""


@pytest.mark.parametrize(
    ("rule", "policy", "allows"),
    [
        ("", "deny", False),
        ("", "allow", True),
        ("12345/tcp                  ALLOW IN    Anywhere", "deny", True),
        ("12000:13000/tcp            ALLOW IN    Anywhere", "deny", True),
        ("12345                      DENY IN     Anywhere", "allow", False),
        ("12345/udp                  ALLOW IN    Anywhere", "deny", False),
        ("12345/tcp                  ALLOW IN    192.0.2.0/24", "deny", None),
        ("12345/tcp (v6)             ALLOW IN    Anywhere (v6)", "deny", True),
    ],
)
def test_ufw(rule: str, policy: str, allows: bool | None) -> None:
    found = read("ufw", UFW.format(rule=rule, policy=policy))
    assert found is not None
    assert (found.tool, found.is_active, found.allows.get(PORT)) == ("ufw", True, allows)


def test_ufw_that_is_off() -> None:
    assert read("ufw", "Status: inactive\n") == Firewall("ufw", False)


@pytest.mark.parametrize(
    ("target", "ports", "allows"),
    [
        ("default", "", False),
        ("default", "80/tcp 12345/tcp", True),
        ("default", "12000-13000/tcp", True),
        ("ACCEPT", "", True),
    ],
)
def test_firewalld(target: str, ports: str, allows: bool) -> None:
    text = f"running\npublic (active)\n  target: {target}\n  services: ssh\n  ports: {ports}\n"
    found = read("firewalld", text)
    assert found is not None
    assert (found.tool, found.allows[PORT]) == ("firewalld", allows)


NFT = """table inet filter {{
	set allowed {{
		type inet_service
	}}
	chain input {{
		type filter hook input priority filter; policy {policy};
		ct state established,related accept
		iifname "lo" accept
		tcp dport 22 accept
		{rule}
	}}
	chain forward {{
		type filter hook forward priority filter; policy drop;
	}}
}}
"""


@pytest.mark.parametrize(
    ("rule", "policy", "allows", "is_active"),
    [
        ("", "accept", True, False),
        ("", "drop", False, True),
        ("tcp dport { 80, 12345 } accept", "drop", True, True),
        ("tcp dport 12000-13000 counter packets 1 bytes 60 accept", "drop", True, True),
        ("ct state new tcp dport 12345 accept", "drop", True, True),
        ("reject with icmpx admin-prohibited", "accept", False, True),
        ("tcp dport 12345 drop", "accept", False, True),
        ("ip saddr 192.0.2.0/24 tcp dport 12345 accept", "drop", None, True),
        ("ip saddr 192.0.2.0/24 tcp dport 80 accept", "drop", False, True),
        ("tcp dport @allowed accept", "drop", None, True),
        ("jump more", "drop", None, True),
        ('iifname "eth0" tcp dport 12345 accept', "drop", None, True),
    ],
)
def test_nftables(rule: str, policy: str, allows: bool | None, is_active: bool) -> None:
    found = read("nft", NFT.format(rule=rule, policy=policy))
    assert found is not None
    assert found.allows.get(PORT) is allows
    assert found.is_active is is_active
    assert bool(found.shown) is (allows is False)


@pytest.mark.parametrize(
    ("rules", "allows"),
    [
        ("-P INPUT ACCEPT", True),
        ("-P INPUT DROP", False),
        ("-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport 12345 -j ACCEPT", True),
        ("-P INPUT DROP\n-A INPUT -p tcp -m multiport --dports 80,12345 -j ACCEPT", True),
        ("-P INPUT DROP\n-A INPUT -i lo -j ACCEPT", False),
        (f"-P INPUT ACCEPT\n-A INPUT ! -i lo -p tcp -m tcp --dport {PORT} -j DROP", False),
        ("-P INPUT DROP\n-A INPUT ! -i lo -j ACCEPT", True),
        ("-P INPUT ACCEPT\n-A INPUT ! -p udp -j DROP", None),
        ("-P INPUT DROP\n-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT", False),
        ("-P INPUT ACCEPT\n-A INPUT -j REJECT --reject-with icmp-host-prohibited", False),
        ("-P INPUT DROP\n-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 12345 -j ACCEPT", None),
        ("-P INPUT DROP\n-A INPUT -j ufw-before-input", None),
        ("-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j DROP", True),
    ],
)
def test_iptables(rules: str, allows: bool | None) -> None:
    found = read("iptables", rules)
    assert found is not None
    assert found.allows.get(PORT) is allows


def test_what_an_account_may_see() -> None:
    assert read("", "", closed=("root",)) is None
    assert read("", "", closed=("root",), ufw=("yes",)) == Firewall("ufw", True)
    assert read("", "", closed=("root",), firewalld=("active",)) == Firewall("firewalld", True)
    assert read("", "") is None
    assert isinstance(read_firewall(None, ()), Unknown)
