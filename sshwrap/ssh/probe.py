"""A connection from the server to a forward's own listener: what the master's log proves of it.

Laws. The exit of the client that makes the connection proves nothing: with its target down it is 0,
and a silent target and a frozen server both hang. The master's lines tell. One probe at a time for
each master; the first visitor on that listener after our own line, from the address that a
connection from the server itself would have, is the probe: it is nobody else's visitor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from sshwrap.profile.forward import Forward
from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.ssh.mux import Unknown, Why


class Found(StrEnum):
    """What stood at the address that was probed."""

    OURS = "ours"  # it came through our own listener
    OTHER = "other"  # something answers, and it is not ours
    NOBODY = "nobody"  # refused: nobody listens there
    FORBIDDEN = "forbidden"  # the server connects this key to nowhere (permitopen, PermitOpen)
    UNREACHABLE = "unreachable"  # no such address there, no route, timed out
    SILENT = "silent"  # no answer in the time given: a frozen line looks the same
    UNKNOWN = "unknown"  # it could not be asked; `said` is why


@dataclass(frozen=True, slots=True)
class Probed:
    """`target`: "ok", "refused", or "unknown" where none was reached or none has answered yet."""

    found: Found
    target: str = "unknown"
    said: str = ""


class Probe:
    """Hears the master until it has a `result`, and then until it `is_over`: no line is to come.

    `port`: where the forward listens (the allocated one). Without a forward nobody's listener is
    asked, only whether the server answers.
    """

    __slots__ = ("_address", "_came", "_forward", "_port", "_stdio", "_visit", "is_over", "result")

    def __init__(self, forward: Forward | None, address: str, port: int) -> None:
        self.result: Probed | None = None
        self.is_over = False
        self._forward = forward
        self._address = address
        self._port = str(port)
        self._stdio: str | None = None  # the channel of our client
        self._came = False
        self._visit: str | None = None  # the channel by which it came back

    def hear(self, evidence: Evidence) -> bool:
        """Take one line; True where it is about the probe alone, and no visitor or target of a
        forward should be seen in it."""
        channel = evidence.get("channel")
        match evidence.kind:
            case Progress.CHANNEL_NEW if self._stdio is None:
                if "stdio-forward" in (evidence.get("kind"), evidence.get("name")):
                    self._stdio = channel
                    return True
            case Progress.VISITOR_OPENED if self._is_us(evidence):
                self._came = True
                return True
            case Progress.CHANNEL_NEW if self._came and self._visit is None:
                if evidence.get("kind") in (None, "forwarded-tcpip"):
                    self._visit = channel
                    return True
            case Progress.TARGET_CONNECTED if channel == self._visit and self._visit is not None:
                self._settle(Probed(Found.OURS, "ok", evidence.said))
            case Progress.TARGET_REFUSED if channel is not None and channel == self._stdio:
                self._settle(_open_failed(evidence.get("reason") or "", evidence.said))
                return True
            case Progress.TARGET_REFUSED if (
                channel is None and self._came and self._leads(evidence)
            ):
                self._settle(Probed(Found.OURS, "refused", evidence.said))
            case Progress.CHANNEL_FREED if channel is not None and channel == self._stdio:
                # That it came would have been said before: the master handled that first.
                self._settle(Probed(Found.OURS if self._came else Found.OTHER))
                self.is_over = True
                return True
        return False

    def end(self, trouble: Unknown | None) -> Probed:
        """The client is gone, or its time is up (`trouble` SILENT): the result."""
        if self.result is not None:
            return self.result
        if self._came:
            return Probed(Found.OURS)
        if trouble is None or trouble.why is Why.SILENT:
            return Probed(Found.SILENT)
        return Probed(Found.UNKNOWN, said=trouble.reason)

    def _settle(self, result: Probed) -> None:
        if self.result is None:
            self.result = result

    def _is_us(self, evidence: Evidence) -> bool:
        if self._stdio is None or self._forward is None or self._came:
            return False
        if evidence.get("listen_port") != self._port:
            return False
        origin = evidence.get("address") or ""
        if origin == self._address:
            return True
        try:
            came, went = ip_address(origin), ip_address(self._address)
        except ValueError:
            return False
        # To 127.0.0.2 it comes from 127.0.0.1; never from the other family, or from loopback to
        # another address: that is a program of the server that visits.
        return came.is_loopback and went.is_loopback and came.version == went.version

    def _leads(self, evidence: Evidence) -> bool:
        """Whether this refusal is of our forward's target."""
        forward = self._forward
        if forward is None:
            return False
        if (path := evidence.get("path")) is not None:
            return forward.connect_path == path
        port = evidence.get("port")
        same_port = port is None or port == str(forward.connect_port)
        return forward.connect_host == evidence.get("host") and same_port


def _open_failed(reason: str, said: str) -> Probed:
    """`channel N: open failed: WHAT: REASON` for our client's channel (channels.c)."""
    what, _, words = reason.partition(": ")
    if what == "administratively prohibited":
        return Probed(Found.FORBIDDEN, said=said)
    # The words are the server's libc's.
    if what == "connect failed" and words.lower() == "connection refused":
        return Probed(Found.NOBODY, said=said)
    return Probed(Found.UNREACHABLE, said=said)
