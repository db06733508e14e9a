"""The keys of a profile: one table, from which the validator, the schema and the docs are made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Type(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "true or false"
    STRINGS = "string or list of strings"
    FORWARDS = "forward or list of forwards"
    OPTIONS = "table"
    ARGV = "list: a program and its arguments"


@dataclass(frozen=True, slots=True)
class Key:
    """`default` is what a profile gets that says nothing; None: ssh decides. Bounds are inclusive.

    `below` says what is wrong with a value under `minimum` that ssh itself would take.
    `meaning` is Markdown, for docs/profiles.md and for editors.
    """

    name: str
    type: Type
    meaning: str
    example: str  # TOML
    default: int | float | bool | None = None
    minimum: int | None = None
    maximum: int | None = None
    below: str = ""


KEYS = (
    Key(
        "destination",
        Type.STRING,
        "the server: `[user@]host`, a `Host` of `~/.ssh/config`, or `ssh://[user@]host[:port]`;"
        " required",
        '"root@vps.example.com"',
    ),
    Key(
        "description",
        Type.STRING,
        "free text for people, one line, in any language",
        '"the web shop"',
    ),
    Key(
        "remote_forward",
        Type.FORWARDS,
        "`-R`: who connects to a port of the server reaches a target here",
        '["*:12345:localhost:8080"]',
    ),
    Key(
        "local_forward",
        Type.FORWARDS,
        "`-L`: who connects to a port here reaches a target at the server's side",
        '["5432:localhost:5432"]',
    ),
    Key(
        "dynamic_forward",
        Type.FORWARDS,
        "`-D`: a SOCKS proxy here, that goes out at the server",
        '["1080"]',
    ),
    Key("user", Type.STRING, "the account, where `destination` names none", '"tunnel"'),
    Key(
        "port",
        Type.INTEGER,
        "the port of the server's sshd",
        "2222",
        minimum=1,
        maximum=65535,
    ),
    Key(
        "identity_file",
        Type.STRINGS,
        "the private key (or several) to sign in with; `~` and ssh's `%` tokens are ssh's",
        '"~/.ssh/id_tunnel"',
    ),
    Key(
        "proxy_jump",
        Type.STRING,
        '`-J`: jump hosts, separated by commas, or `"none"`',
        '"jump@bastion.example.com:2222"',
    ),
    Key(
        "server_alive_interval",
        Type.INTEGER,
        "seconds of silence before ssh asks whether the server is still there",
        "15",
        default=15,
        minimum=1,
        maximum=86400,
        below="0 would turn keepalives off, and a dead line would never be noticed",
    ),
    Key(
        "server_alive_count_max",
        Type.INTEGER,
        "unanswered questions before ssh gives the line up: it is dead after"
        " interval × (this + 1) seconds",
        "3",
        default=3,
        minimum=1,
        maximum=1000,
        below="0 would make ssh end the tunnel the first time nothing is sent for an interval",
    ),
    Key(
        "connect_timeout",
        Type.INTEGER,
        "seconds for the server to accept the connection and greet",
        "10",
        default=10,
        minimum=1,
        maximum=3600,
        below="0 would wait as long as the system does, minutes",
    ),
    Key(
        "ssh_config",
        Type.STRING,
        '`-F`: read this file and not `~/.ssh/config`; `"none"` for no file at all',
        '"ssh_config"',
    ),
    Key(
        "ssh_options",
        Type.OPTIONS,
        "any other keyword of ssh_config(5), passed as `-o`; a list passes it several times",
        '{ Ciphers = "aes128-gcm@openssh.com" }',
    ),
    Key(
        "probe_interval",
        Type.NUMBER,
        "seconds between connections through the server's port to the target, to see that the whole"
        " loop works; 0: at the start and on suspicion only",
        "300",
        default=0,
        minimum=0,
        maximum=86400,
    ),
    Key(
        "run_on_server",
        Type.BOOLEAN,
        "`false`: no session is ever opened on the server: who listens there is found out by"
        " connections alone, and a dead session of ours is not ended",
        "false",
        default=True,
    ),
    Key(
        "reclaim",
        Type.BOOLEAN,
        "`false`: a dead session of ours that still holds the port is left to the server",
        "false",
        default=True,
    ),
    Key(
        "restart_max_delay",
        Type.NUMBER,
        "the longest wait between two tries, seconds",
        "30",
        default=30,
        minimum=1,
        maximum=86400,
    ),
    Key(
        "autostart",
        Type.BOOLEAN,
        "`true`: part of `sshwrap up` without names",
        "false",
        default=True,
    ),
    Key(
        "on_up",
        Type.ARGV,
        "a program to run when the tunnel has come up, is back after an outage that was told, or"
        " has another port: [hooks](hooks.md)",
        '["notify-send", "the shop is back"]',
    ),
    Key(
        "on_down",
        Type.ARGV,
        "a program to run when the tunnel has been down for `notify_after` seconds",
        '["~/bin/tell", "the shop is down"]',
    ),
    Key(
        "on_failed",
        Type.ARGV,
        "a program to run when the tunnel needs a person",
        '["~/bin/tell", "the shop needs me"]',
    ),
    Key(
        "notify_after",
        Type.NUMBER,
        "seconds of an outage before `on_down` is run: a shorter one is not told of",
        "300",
        default=60,
        minimum=0,
        maximum=86400,
    ),
)

BY_NAME = {key.name: key for key in KEYS}

# Keys of the design that this version does not have: named, so that nobody takes them for a typo,
# and refused, so that nobody relies on what does not happen.
NOT_YET = (
    "attended",
    "password_command",
    "visitor_log",
)
