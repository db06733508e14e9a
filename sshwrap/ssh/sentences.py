"""The details of a failure -> the {names} that the sentences of catalogue.py hold.

Laws. Everything a server said is bounded and clean here; whatever may be pasted into a shell is
quoted once, by shlex.
"""

from __future__ import annotations

import re
import shlex

from sshwrap.ssh.lines import bounded, clean

MAX_DETAIL = 100  # characters


class Fields(dict[str, str]):
    """What is not known is "", so that a sentence leaves it out."""

    def __missing__(self, name: str) -> str:
        return ""


_ALGORITHMS = {
    "key exchange method": "KexAlgorithms",
    "host key type": "HostKeyAlgorithms",
    "cipher": "Ciphers",
    "MAC": "MACs",
}


def fields(destination: str, profile: str, detail: dict[str, str]) -> Fields:
    """What the sentences of the catalogue may name; a server's text bounded and clean."""
    known = Fields(
        {name: bounded(clean(value), MAX_DETAIL) for name, value in detail.items() if value}
    )
    user, host, port = split_destination(destination)
    known.setdefault("host", host)
    port = known["port"] or port
    user = known["user"] or user
    reason, listen_port = known["reason"] or known["text"], known["listen_port"]
    at = known["at"] or destination
    ssh = ["ssh", *(["-p", port] if port not in ("", "22") and "://" not in at else [])]
    known |= {
        "destination": destination,
        "profile": shlex.quote(profile),
        "because": f" ({reason})" if reason else "",
        "on_port": f" on port {port}" if port else "",
        "port_or_22": port or "22",
        "host_word": shlex.quote(known["host"]),
        "user_or_you": user or "this account",
        "ssh": shlex.join([*ssh, at]),
        "copy_id": shlex.join(["ssh-copy-id", *ssh[1:], at]),
        "from_source": f': "{known["source"]}"' if known["source"] else "",
        "command_quoted": f': "{known["command"]}"' if known["command"] else "",
        "spec_quoted": f'"{known["spec"]}"' if known["spec"] else "as written",
        "in_file": f" {known['file']}" if known["file"] else "",
        "with_status": f" (exit status {known['status']})" if known["status"] else "",
        "signal": f"signal {known['number']}" if known["number"] else "a signal",
        "path": known["path"] or "of this profile",
        "path_word": _path_word(known),
        "listen": _listen(known),
        "remove_there": shlex.join([*ssh, at, f"rm {shlex.quote(known['listen_path'])}"]),
        "local_holder": f"ss -ltnp 'sport = :{listen_port}'" if listen_port else "ss -lxp",
        "taken": "no free port is left" if listen_port == "0" else f"{_listen(known)} is taken",
        "control_dir": _control_dir(known),
        "or_no_address": _or_no_address(known),
        "key_remedy": _key_remedy(known),
        "known_word": shlex.quote(known["known_as"] or _known_as(known["host"], port)),
        "known_hosts": f" -f {shlex.quote(known['file'])}" if known["file"] else "",
        "what_word": known["what"] or "algorithm",
        "option": _ALGORITHMS.get(known["what"], "Ciphers"),
        # The server's text, and to be pasted: nothing but the characters of an algorithm's name.
        "first_offer": re.sub(r"[^A-Za-z0-9@.+-]", "", known["offer"].partition(",")[0]),
    }
    return known


def split_destination(destination: str) -> tuple[str, str, str]:
    """(user, host, port) of "[user@]host" or "ssh://[user@]host[:port]", "" for what it lacks."""
    is_uri = destination.startswith("ssh://")
    text = destination.removeprefix("ssh://").rstrip("/") if is_uri else destination
    user, _, host = text.rpartition("@")
    port = ""
    if is_uri and (match := re.fullmatch(r"(.+?):(\d+)", host)) and not host.endswith("]"):
        host, port = match.groups()
    return user, host.removeprefix("[").removesuffix("]"), port


def _known_as(host: str, port: str) -> str:
    """How known_hosts names a server (sshconnect.c:get_hostfile_hostname_ipaddr)."""
    return host if port in ("", "22") else f"[{host}]:{port}"


def _listen(known: Fields) -> str:
    if known["listen_path"]:
        return f"the socket {known['listen_path']}"
    return f"port {known['listen_port']}" if known["listen_port"] else "the port"


def _control_dir(known: Fields) -> str:
    directory = known["control_path"].rpartition("/")[0]
    return f": ls -ld {shlex.quote(directory)}" if directory else ""


def _or_no_address(known: Fields) -> str:
    """sshd gives one answer for a port in use and for an address that it does not have."""
    host = known["listen_host"]
    if host in ("", "*", "localhost", "0.0.0.0", "::", "127.0.0.1", "::1"):  # noqa: S104
        return ""
    return f", or {host} is not an address of it"


def _path_word(known: Fields) -> str:
    # unquoted, so that the shell expands it
    return shlex.quote(known["path"]) if known["path"] else "~/.ssh/id_ed25519"


def _key_remedy(known: Fields) -> str:
    if known["mode"] or known["reason"] == "bad permissions":
        return f"chmod 600 {_path_word(known)}"
    return f"see what is wrong with it: ssh-keygen -y -f {_path_word(known)}"
