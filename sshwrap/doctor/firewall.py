"""What a server's own packet filter says of TCP ports, by what its tools print.

Laws. A port is said to be let in, or kept out, only where one rule or policy says so plainly; what
hangs on sets, maps, other chains or addresses is left out, and so not known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from sshwrap.doctor.answers import Part
from sshwrap.doctor.facts import Fact, Firewall, Known, Unknown
from sshwrap.ssh.lines import bounded

_SHOWN = 200
_CLOSED = Unknown("only root may read the server's packet filter")


def read_firewall(part: Part | None, ports: Collection[int]) -> Fact[Firewall]:
    """Of the first tool that is in use: ufw and firewalld write rules for the ones behind them."""
    if part is None:
        return Unknown("the server's answer was not complete")
    if part.word("closed"):
        if part.word("ufw") == "yes":
            return Known(Firewall("ufw", True))
        if part.word("firewalld") == "active":
            return Known(Firewall("firewalld", True))
        return _CLOSED
    ufw, firewalld = part.rows("ufw"), part.rows("firewalld")
    if any(row == "Status: active" for row in ufw):
        return Known(_ufw(ufw, ports))
    if firewalld[:1] == ("running",):
        return Known(_firewalld(firewalld[1:], ports))
    for tool, table, read in (("nftables", "nft", _nft), ("iptables", "iptables", _iptables)):
        if table in part.tables:
            return Known(read(tool, part.rows(table), ports))
    if "ufw" in part.tables:
        return Known(Firewall("ufw", False))
    return Unknown("no tool that shows the server's packet filter was found there")


def _ufw(rows: Sequence[str], ports: Collection[int]) -> Firewall:
    """`ufw status verbose`: "To  Action  From" rows, and "Default: deny (incoming), …"."""
    default = next((row for row in rows if row.startswith("Default:")), "")
    policy = re.search(r"(\w+) \(incoming\)", default)
    rules = [
        found
        for row in rows
        if (found := re.match(r"(\S+)(?: \(v6\))? +(ALLOW|LIMIT|DENY|REJECT)(?: IN)? +(.+)", row))
    ]
    allows: dict[int, bool] = {}
    shown = ""
    for port in ports:
        of_port = [rule for rule in rules if _is_in(port, rule[1])]
        for_all = [rule for rule in of_port if rule[3].startswith("Anywhere")]
        if for_all:
            allows[port] = for_all[0][2] in ("ALLOW", "LIMIT")
            shown = shown or for_all[0][0]
        elif policy is not None and not of_port:
            allows[port] = policy[1] == "allow"
            shown = shown or default
    return Firewall("ufw", True, allows, bounded(shown, _SHOWN))


def _firewalld(rows: Sequence[str], ports: Collection[int]) -> Firewall:
    """`firewall-cmd --list-all`; what its services open is in files that it does not show."""
    lines = [row.strip() for row in rows]
    target = next((line[8:] for line in lines if line.startswith("target: ")), "")
    opened = next((line for line in lines if line.startswith("ports:")), "")
    allows: dict[int, bool] = {}
    for port in ports:
        if target == "ACCEPT" or any(_is_in(port, word) for word in opened.split()[1:]):
            allows[port] = True
        elif target in ("default", "DROP", "%%REJECT%%"):
            allows[port] = False
    return Firewall("firewalld", True, allows, bounded(opened, _SHOWN))


def _nft(tool: str, rows: Sequence[str], ports: Collection[int]) -> Firewall:
    """`nft list ruleset`: the base chains of the input hook, rule by rule."""
    chains: list[tuple[str, list[str]]] = []
    inside: list[str] | None = None
    head = ""
    for row in rows:
        line = row.strip()
        if line.startswith("chain "):
            inside, head = [], line
        elif line == "}" and inside is not None:
            if any(" hook input " in f" {rule} " for rule in inside):
                chains.append((head, inside))
            inside = None
        elif inside is not None:
            inside.append(line)
    allows: dict[int, bool] = {}
    shown = ""
    for port in ports:
        verdicts = [_nft_chain(rules, port) for _, rules in chains]
        if not all(verdict is not None for verdict, _ in verdicts):
            continue
        allows[port] = all(verdict for verdict, _ in verdicts)
        shown = shown or next((rule for verdict, rule in verdicts if not verdict), "")
    is_active = any(_keeps_out(rules) for _, rules in chains)
    return Firewall(tool, is_active, allows, bounded(shown, _SHOWN))


def _nft_chain(rules: Sequence[str], port: int) -> tuple[bool | None, str]:
    """Whether a new connection from anywhere to this port is let in, and the rule that says so."""
    policy = ""
    for rule in rules:
        if " hook input " in f" {rule} ":
            policy = rule
            continue
        words = re.sub(r'counter packets \d+ bytes \d+|counter|comment "[^"]*"', "", rule).split()
        if not words or (words[-1] not in ("accept", "drop") and "reject" not in words):
            if "jump" in words or "goto" in words or "vmap" in words:
                return None, ""
            continue
        verdict = words[-1] == "accept"
        condition = " ".join(words[: words.index("reject") if "reject" in words else -1])
        if condition == "":
            return verdict, rule
        if _OF_OTHER_PACKETS.match(condition):
            continue
        named = _NFT_DPORT.search(condition)
        words = named[1].strip("{} ").split(", ") if named is not None else []
        if not words or not all(re.fullmatch(r"[\d-]+", word) for word in words):
            return None, ""  # of addresses, sets, marks, or ports by name
        if any(_is_in(port, word) for word in words):
            plain = _NFT_PORTS.fullmatch(condition) is not None
            return (verdict, rule) if plain else (None, "")
    return "policy accept" in policy or not policy, policy


# Than a stranger's first one.
_OF_OTHER_PACKETS = re.compile(
    r'ct state (?!\S*new)|iif(name)? "?lo"?$|(icmp|icmpv6|udp)\b|meta l4proto (?!tcp)'
    r"|ip protocol icmp"
)
_NFT_DPORT = re.compile(r"\bdport (\{ [^}]+ \}|\S+)")
_NFT_PORTS = re.compile(
    r"(?:ct state new )?(?:meta l4proto tcp )?tcp dport (\{ [^}]+ \}|[\w-]+)(?: ct state new)?"
)


def _keeps_out(rules: Sequence[str]) -> bool:
    return any(re.search(r"\b(policy drop|drop|reject)\b", rule) for rule in rules)


def _iptables(tool: str, rows: Sequence[str], ports: Collection[int]) -> Firewall:
    """`iptables -S`: the rules of INPUT."""
    policy = next((row for row in rows if row.startswith("-P INPUT ")), "")
    rules = [row for row in rows if row.startswith("-A INPUT ")]
    allows: dict[int, bool] = {}
    shown = ""
    for port in ports:
        verdict: bool | None = policy != "-P INPUT DROP"
        decided = policy
        for rule in rules:
            found = _iptables_rule(rule, port)
            if found == "other":
                continue
            decided = rule
            verdict = {"ACCEPT": True, "DROP": False, "REJECT": False}.get(found)
            break
        if verdict is not None:
            allows[port] = verdict
            shown = shown or decided
    is_active = policy == "-P INPUT DROP" or any(
        re.search(r"-j (DROP|REJECT)\b", rule) for rule in rules
    )
    return Firewall(tool, is_active, allows, bounded(shown, _SHOWN))


def _iptables_rule(rule: str, port: int) -> str:
    """The target of a rule that a stranger's connection to this port meets; "other": it does not;
    "" where that is not to be told."""
    target = re.search(r"-j (\S+)", rule)
    if target is None or re.search(r"(?<!! )-i lo\b|(?<!! )-p (udp|icmp|ipv6-icmp)\b", rule):
        return "other"
    if re.search(r"(--ctstate|--state) (?!\S*NEW)\S+", rule):
        return "other"
    wanted = re.search(r"--dports? (\S+)", rule)
    if wanted is not None and not any(_is_in(port, word) for word in wanted[1].split(",")):
        return "other"
    if target[1] == "LOG":
        return "other"
    rest = re.sub(
        r"-A INPUT|! -i lo\b|-p tcp|-m (tcp|multiport|conntrack|state|comment)|--dports? \S+|-j \S+"
        r'|--comment ("[^"]*"|\S+)|(--ctstate|--state) \S+|--reject-with \S+',
        "",
        rule,
    )
    return target[1] if not rest.split() and target[1] in ("ACCEPT", "DROP", "REJECT") else ""


def _is_in(port: int, word: str) -> bool:
    """ "8080", "8080/tcp", "8000:8100", "8000-8100/tcp"."""
    numbers, _, protocol = word.partition("/")
    match = re.fullmatch(r"(\d{1,5})(?:[:-](\d{1,5}))?", numbers)
    if match is None or protocol not in ("", "tcp"):
        return False
    return int(match[1]) <= port <= int(match[2] or match[1])
