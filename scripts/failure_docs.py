"""Write docs/failures.md from the catalogue and the table of ssh's words.

python scripts/failure_docs.py        (a unit test compares the file with what this makes)
"""

from __future__ import annotations

import re
from pathlib import Path

from sshwrap.ssh.catalogue import CATALOGUE, Disposition
from sshwrap.ssh.failure import failure
from sshwrap.ssh.rows import ROWS

DOCUMENT = Path(__file__).parents[1] / "docs" / "failures.md"

SAMPLE = {
    "port": "22",
    "user": "tunnel",
    "path": "~/.ssh/id_ed25519",
    "listen_port": "12345",
    "listen_path": "/run/web.sock",
    "what": "key exchange method",
    "offer": "diffie-hellman-group14-sha1",
    "number": "9",
    "uid": "1000",
    "status": "255",
    "command": "cloudflared",
    "spec": "8080:localhost",
}

# By kind, where the common sample would not make a true sentence.
SAMPLES = {
    "bad_option": {"reason": "NoSuchOption"},
    "bad_ssh_config": {"file": "~/.ssh/config"},
    "key_unreadable": {"reason": "bad permissions"},
    "privileged_port": {"listen_port": "80", "listen_path": ""},
    "local_port_taken": {"listen_path": ""},
    "local_listen_failed": {"listen_path": "", "reason": "Cannot assign requested address"},
    "port_taken": {"listen_path": ""},
    "port_not_permitted": {"listen_path": ""},
    "reset": {"reason": "Connection reset by peer"},
    "path_too_long": {"path": "/home/you/…/control"},
    "control_socket_failed": {"control_path": "/home/you/.local/state/sshwrap/control/web"},
    "host_key_changed": {"file": "/home/you/.ssh/known_hosts"},
}

NEXT = {
    Disposition.RETRY: "again at once after a stable run, else after 0.5, 1, 2 … seconds up to "
    "`restart_max_delay`; at once when the network comes back",
    Disposition.SLOW: "again after 20 seconds or more, for all tunnels to that server",
    Disposition.PORT: "again every 1 to 5 seconds for 3 minutes, then every 30 seconds",
    Disposition.PERSON: "shown as “needs you”; again after 1 minute, 5, then every 15, and when "
    "the network has changed",
    Disposition.CONFIG: "waits until profile or file has been corrected, and `sshwrap reload`",
}

HEAD = """\
# Failures

Every reason why a tunnel is not up. The names are those of `failure.kind` in `sshwrap status
--json` and in the journal; the list is closed, and no name changes its meaning.

sshwrap reads what ssh says, and looks at the exit status last: ssh exits with 255 for nearly
everything. Only ssh's own log counts. What comes over the terminal (a jump host's ssh, the shell,
a usage error) is taken where the log has no reason of its own, and never where the server's banner
may have written it.

This page is made by `scripts/failure_docs.py` from `sshwrap/ssh/catalogue.py` and
`sshwrap/ssh/rows.py`.

## What sshwrap does next

"""


def readable(pattern: str) -> str:
    """`ssh: connect to host {host} port {port}: {}` -> `… HOST port PORT: …`"""
    return re.sub(
        r"\{(\w*)\}", lambda match: match[1].upper().replace("CONFIG_", "") or "…", pattern
    )


def section(kind: str) -> str:
    entry = CATALOGUE[kind]
    sample = SAMPLE | SAMPLES.get(kind, {})
    shown = failure(kind, destination="tunnel@vps.example.com", profile="web", **sample)
    words = [f"`{readable(row.format)}` ({row.source})" for row in ROWS if row.kind == kind]
    lines = [
        f"## {kind}",
        "",
        f"- **You see** `{shown.summary}`",
        f"- **It means** {entry.meaning}",
        f"- **Do** `{shown.advice}`",
        f"- **Next** [{entry.disposition}](#what-sshwrap-does-next)",
    ]
    if len(words) == 1:
        lines.append(f"- **ssh says** {words[0]}")
    elif words:
        lines += ["- **ssh says** one of", *(f"  - {word}" for word in words)]
    return "\n".join(lines) + "\n"


def document() -> str:
    dispositions = [f"- **{name}**: {text}" for name, text in NEXT.items()]
    return HEAD + "\n".join([*dispositions, "", *map(section, CATALOGUE)])


if __name__ == "__main__":
    DOCUMENT.write_text(document())
