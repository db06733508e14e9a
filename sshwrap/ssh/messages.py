"""The shape of one message of ssh, and what a message can prove; the table is in rows.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Progress(StrEnum):
    """What a line proves that is no failure; behind each: the detail it carries."""

    CONNECTING = "connecting"  # host, address, port: which address ssh is trying
    ADDRESS_FAILED = "address_failed"  # address, port, reason: one of several addresses
    CONNECTED = "connected"  # TCP is there
    PROXY_STARTED = "proxy_started"  # command: ProxyCommand, or what ProxyJump comes to
    SERVER_VERSION = "server_version"  # software
    SIGNING_IN = "signing_in"  # user, host, port
    SERVICE_ACCEPTED = "service_accepted"  # from here on the server's banner may come
    KEY_ACCEPTED = "key_accepted"  # path, …: the server knows this key; nothing is signed yet
    METHODS_LEFT = "methods_left"  # methods: the last attempt was refused, these may follow
    PARTIAL_SUCCESS = "partial_success"  # method: accepted, but the server wants more
    AUTHENTICATED = "authenticated"  # address, port, method
    INTERACTIVE = "interactive"  # main loop; ready only where no remote forward is awaited
    EXPECTING = "expecting"  # count of replies awaited
    FORWARD_CONFIRMED = "forward_confirmed"  # listen (as ssh spells it), connect
    PORT_ALLOCATED = "port_allocated"  # port, connect_host, connect_port or connect_path
    ALL_CONFIRMED = "all_confirmed"  # every remote forward was answered with success
    VISITOR_OPENED = "visitor_opened"  # listen_host, listen_port or listen_path, address, port
    CHANNEL_NEW = "channel_new"  # channel, kind (absent before 9.2), name: a channel opened
    CHANNEL_FREED = "channel_freed"  # channel, name
    TARGET_CONNECTED = "target_connected"  # channel, host, port
    TARGET_REFUSED = "target_refused"  # host, port (or path), reason: the target, not the tunnel
    OVERRIDDEN = "overridden"  # listen_host: GatewayPorts yes widened it
    KEY_OPTIONS = "key_options"  # options of the authorized_keys line, a space between
    REMOTE_SAYS = "remote_says"  # text: another `debug1: Remote:` line
    MUX_REQUEST = "mux_request"  # text: a request over our own control socket
    NOTICE = "notice"  # harmless, worth keeping in a log: the line is the text
    CHATTER = "chatter"  # known, and nothing to anybody


class Where(StrEnum):
    """Which stream a message can come by."""

    LOG = "log"
    TERMINAL = "terminal"
    BOTH = "both"  # ssh's log, and the terminal where a ProxyJump's ssh says it


@dataclass(frozen=True, slots=True)
class Row:
    """One message. `kind`: a Progress or the name of a failure; in `format` {name} is a detail
    and {} anything; `since` and `until` where it is not in every version from 8.4 on.
    """

    kind: str
    format: str
    source: str
    where: Where = Where.BOTH
    since: str = ""
    until: str = ""

    @property
    def is_failure(self) -> bool:
        return not isinstance(self.kind, Progress)

    @property
    def literal(self) -> str:
        """What every line of this row begins with."""
        return self.format.partition("{")[0]

    @property
    def pattern(self) -> str:
        """The row as a regular expression, for `re.fullmatch`."""
        texts = re.split(r"\{(\w*)\}", self.format)
        return "".join(
            _group(text) if index % 2 else re.escape(text) for index, text in enumerate(texts)
        )


_DIGITS = {"channel", "connect_port", "count", "line", "listen_port", "mode", "number", "port"}
_WORDS = {"address", "host", "type", "uid"}
_SPECIAL = {
    "": ".*",
    "listen_host": r"(?P<listen_host>\S*)",  # "" where every address was asked for
    "config_file": r"(?P<file>/.*[^:])",
    "fingerprint": r"(?P<fingerprint>(?:SHA|MD5).*)",
    # mux.c:muxserver_listen binds under a name of its own and moves it into place
    "control_path": r"(?P<control_path>.+)\.[A-Za-z0-9]{16}",
}


def _group(name: str) -> str:
    if name in _SPECIAL:
        return _SPECIAL[name]
    shape = r"\d+" if name in _DIGITS else r"\S+" if name in _WORDS else ".*"
    return f"(?P<{name}>{shape})"
