"""One forward of ssh(1): parse a spec as ssh itself reads it, and write it back.

Laws. A spec is refused exactly where ssh refuses it (readconf.c:parse_forward), or where ssh takes
it and nobody means what it then does: those are `ForwardTrap`s. What `format_forward` writes, ssh
reads back as the same forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sshwrap.profile.fields import (
    SPACE,
    Field,
    brackets_hint,
    expand,
    is_control,
    order_hint,
    printable,
    quoted,
    read_port,
    split_fields,
)
from sshwrap.profile.fields import ForwardError as ForwardError
from sshwrap.profile.fields import ForwardTrap as ForwardTrap

PATH_MAX_BYTES = 107  # sun_path of Linux less its NUL (PATH_MAX_SUN of readconf.c)
HOST_MAX_BYTES = 1024  # NI_MAXHOST less its NUL
PATH_TOKENS = "%CdhijkLlnpru"  # ssh_config(5), TOKENS: ssh expands them in a socket's path


class Kind(StrEnum):
    REMOTE = "remote"  # -R
    LOCAL = "local"  # -L
    DYNAMIC = "dynamic"  # -D


@dataclass(frozen=True, slots=True)
class Forward:
    """One listener and what it connects to; OpenSSH's own names for the two ends.

    A listener is TCP (`listen_port`) or a Unix socket (`listen_path`), never both; the same for
    the connect end. A remote forward without a connect end is a SOCKS proxy (`-R 1080`), as every
    dynamic forward is. `listen_host` is None where the spec gives none (the server chooses for
    -R), "*" for `*` and for an empty bind address, else the address without its brackets.
    Paths keep ssh's % tokens, which ssh itself expands.
    `spec` is what the person wrote, after `${VAR}`; `source` is "profile", or "FILE" of ssh_config.
    """

    kind: Kind
    spec: str
    listen_host: str | None = None
    listen_port: int | None = None
    listen_path: str | None = None
    connect_host: str | None = None
    connect_port: int | None = None
    connect_path: str | None = None
    source: str = "profile"

    @property
    def is_socks(self) -> bool:
        return self.connect_port is None and self.connect_path is None


def parse_forward(
    kind: Kind,
    spec: str,
    *,
    environ: Mapping[str, str],
    service_port: Callable[[str], int | None],
    source: str = "profile",
) -> Forward:
    """The forward that ssh would make of `spec` (readconf.c:parse_forward); raises ForwardError.

    `environ` answers `${VAR}`; `service_port` turns a service name ("http") into its TCP port.
    """
    if "\0" in spec:
        raise ForwardError(f"{quoted(spec)} holds a NUL")
    text = expand(spec, environ).lstrip(SPACE)
    try:
        fields, dangling = split_fields(text)
        forward = _shape(kind, text, fields, service_port)
    except ForwardError as error:
        reason = _config_spelling(text) or _web_address(text) or str(error)
        raise ForwardError(printable(reason)) from None
    _refuse_traps(forward, dangling, text)
    return replace(forward, source=source)


def format_forward(forward: Forward) -> str:
    """The spec that ssh reads back as exactly this forward: what goes behind -R, -L or -D."""
    return ":".join(
        _end(forward.listen_host, forward.listen_port, forward.listen_path)
        + _end(forward.connect_host, forward.connect_port, forward.connect_path)
    )


def describe_listen(forward: Forward) -> str:
    """For screens: "*:12345", "12345" (the bind address is the server's choice), "/r.sock"."""
    return _describe(forward.listen_host, forward.listen_port, forward.listen_path)


def describe_connect(forward: Forward) -> str:
    """For screens: "localhost:8080", "[::1]:80", "/l.sock", "socks"."""
    if forward.is_socks:
        return "socks"
    return _describe(forward.connect_host, forward.connect_port, forward.connect_path)


def spec_of_config(kind: Kind, line: str, *, source: str = "ssh_config") -> Forward:
    """The forward of a line of `ssh -G`: `remoteforward [*]:8080 [localhost]:3000`.

    ssh has validated and expanded it; ForwardError only where it is no such line.
    """
    _keyword, _, text = line.strip("\r\n").partition(" ")
    listen, connect = _config_ends(text)
    listen_host, listen_port, listen_path = _config_end(listen, line)
    connect_host, connect_port, connect_path = (None, None, None)
    if connect and connect != "[socks]:0":
        connect_host, connect_port, connect_path = _config_end(connect, line)
    if listen_host == "":
        listen_host = "*"
    forward = Forward(
        kind,
        "",
        listen_host,
        listen_port,
        listen_path,
        connect_host,
        connect_port,
        connect_path,
        source,
    )
    return replace(forward, spec=format_forward(forward))


def forwards_of_config(lines: Iterable[str], *, source: str = "ssh_config") -> tuple[Forward, ...]:
    """Every forward in the output of `ssh -G`, in its order."""
    kinds = {f"{kind.value}forward": kind for kind in Kind}
    found = [
        spec_of_config(kinds[word], line, source=source)
        for line in lines
        if (word := line.partition(" ")[0].lower()) in kinds
    ]
    # readconf.c:dump_cfg_forwards prints a -L to a Unix socket a second time, as a dynamicforward
    local = {describe_listen(f) for f in found if f.kind is Kind.LOCAL and f.connect_path}
    return tuple(f for f in found if f.kind is not Kind.DYNAMIC or describe_listen(f) not in local)


# ---- reading ------------------------------------------------------------------------------------


def _shape(
    kind: Kind, text: str, fields: list[Field], service_port: Callable[[str], int | None]
) -> Forward:
    words = [field.text for field in fields]
    paths = [field.is_path for field in fields]
    listen_host = listen_port = listen_path = None
    connect_host = connect_port = connect_path = None
    match words, paths:
        case [a], [True]:
            listen_path = a
        case [a], _:
            listen_port = a
        case [a, b], [True, True]:
            listen_path, connect_path = a, b
        case [a, b], [_, True]:
            listen_port, connect_path = a, b
        case [a, b], _:
            listen_host, listen_port = a, b
        case [a, b, c], [True, *_]:
            listen_path, connect_host, connect_port = a, b, c
        case [a, b, c], [_, _, True]:
            listen_host, listen_port, connect_path = a, b, c
        case [a, b, c], _:
            listen_port, connect_host, connect_port = a, b, c
        case [a, b, c, d], _:
            listen_host, listen_port, connect_host, connect_port = a, b, c, d
    if kind is Kind.DYNAMIC and len(fields) > 2:
        raise ForwardError(f"{quoted(text)}: a dynamic forward has no target; write [bind:]port")
    if kind is Kind.LOCAL and connect_port is None and connect_path is None:
        raise ForwardError(
            f"{quoted(text)}: no target; write {words[0] or '8080'}:localhost:PORT"
            " (a SOCKS proxy is a dynamic_forward)"
        )
    lowest = 0 if kind is Kind.REMOTE else 1
    hint = order_hint(words, service_port) or brackets_hint(text)
    return Forward(
        kind,
        text,
        "*" if listen_host == "" else _host("bind address", listen_host),
        _port("listen port", listen_port, lowest, hint, service_port),
        _path(listen_path),
        _host("target host", connect_host),
        _port("target port", connect_port, 1, hint, service_port),
        _path(connect_path),
    )


def _port(
    what: str,
    text: str | None,
    lowest: int,
    hint: str,
    service_port: Callable[[str], int | None],
) -> int | None:
    if text is None:
        return None
    number = read_port(text, service_port)
    if number is None or number < lowest:
        raise ForwardError(f"{what} {quoted(text)} is not {lowest}-65535{hint}")
    return number


def _host(what: str, text: str | None) -> str | None:
    if text is not None and _size_bytes(text) > HOST_MAX_BYTES:
        raise ForwardError(f"{what} {quoted(text[:40] + '…')} is too long")
    return text


def _path(text: str | None) -> str | None:
    if text is None:
        return None
    if _size_bytes(text) > PATH_MAX_BYTES:
        raise ForwardError(
            f"path {quoted(text)} is too long for a Unix socket: {_size_bytes(text)} bytes,"
            f" {PATH_MAX_BYTES} at most"
        )
    at = 0
    while (at := text.find("%", at)) >= 0:
        if text[at + 1 : at + 2] not in tuple(PATH_TOKENS):
            raise ForwardError(
                f"path {quoted(text)}: {quoted(text[at : at + 2])} is no token of"
                " ssh_config(5); write %% for a percent sign"
            )
        at += 2
    return text


# ---- what ssh takes and nobody means ------------------------------------------------------------


def _refuse_traps(forward: Forward, dangling: bool, text: str) -> None:
    if any(map(is_control, text)):
        raise ForwardTrap(f"{quoted(text)} holds a control character")
    if dangling:
        raise ForwardTrap(f"{quoted(text)} ends in the middle; write {_unfinished(forward)}")
    if (web := _web_address(text)) is not None:
        raise ForwardTrap(web)
    for path in (forward.listen_path, forward.connect_path):
        if path is not None:
            _refuse_path(path, forward, text)
    if forward.kind is Kind.DYNAMIC and not forward.is_socks:
        raise ForwardTrap(f"{quoted(text)}: a dynamic forward has no target; use local_forward")
    for what, host in (
        ("bind address", forward.listen_host),
        ("target host", forward.connect_host),
    ):
        if host is not None:
            _refuse_host(what, host, forward, text)


def _refuse_path(path: str, forward: Forward, text: str) -> None:
    if forward.is_socks and (suggestion := _config_spelling(text)):
        raise ForwardTrap(suggestion)
    if path.startswith("~"):
        raise ForwardTrap(
            f'path {quoted(path)}: ssh does not expand "~" here; write the whole path'
            " (or ${HOME} for this machine's)"
        )
    if not path.startswith("/"):
        colons = path.replace("/", ":")
        raise ForwardTrap(
            f"{quoted(path)} would be a Unix socket of that name; write {colons}"
            " for a port, or begin a path with /"
        )


_PLAIN_HOST = "write host:port alone, as in 8080:localhost:3000"


def _refuse_host(what: str, host: str, forward: Forward, text: str) -> None:
    if any(char.isspace() for char in host):
        raise ForwardTrap(_config_spelling(text) or f"{what} {quoted(host)} holds a space")
    if "/" in host:
        raise ForwardTrap(f'{what} {quoted(host)} holds a "/"; {_PLAIN_HOST}')
    if host == "":
        listen = _describe(forward.listen_host, forward.listen_port, forward.listen_path)
        raise ForwardTrap(
            f"{quoted(text)}: target host is empty; write {listen}:localhost:{forward.connect_port}"
        )
    if what == "target host" and host == "*":
        raise ForwardTrap(f'{quoted(text)}: target host "*" is no host; write localhost')
    if host.isascii() and host.isdigit() and 0 < int(host[:9]) <= 65535:
        meant = f"{host}:localhost:{forward.listen_port}" if forward.is_socks else _PLAIN_HOST[6:]
        raise ForwardTrap(f"{quoted(text)}: {what} {quoted(host)} is a port; write {meant}")


def _config_spelling(text: str) -> str | None:
    """`12345 localhost:8080`, as RemoteForward of ssh_config has it, would be a SOCKS proxy."""
    listen, _, connect = (part.strip() for part in text.partition(" "))
    if not (listen.startswith("/") or (listen[-1:].isdigit() and "/" not in listen)):
        return None
    if not (connect.startswith(("/", "[")) or ":" in connect):
        return None
    return f"{quoted(text)} is ssh_config's spelling; write {listen}:{connect}"


def _web_address(text: str) -> str | None:
    """`8080:http://localhost:3000` would be port 80 of the host "8080", or the like."""
    return f"{quoted(text)} holds an address of the web; {_PLAIN_HOST}" if "://" in text else None


def _unfinished(forward: Forward) -> str:
    if forward.is_socks:
        return f"{describe_listen(forward)}:localhost:PORT, or {describe_listen(forward)} for SOCKS"
    return format_forward(forward)


def _size_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


# ---- writing ------------------------------------------------------------------------------------


def _end(host: str | None, port: int | None, path: str | None) -> list[str]:
    if path is not None:
        return [_escape(path)]
    if port is None:
        return []
    return [str(port)] if host is None else [_escape(host), str(port)]


def _escape(text: str) -> str:
    if not any(char in text for char in ":\\[") and "${" not in text:
        return text
    if "]" not in text and "${" not in text:
        return f"[{text}]"  # literal up to the first "]"; ${VAR} is expanded even in there
    escaped = text.replace("\\", "\\\\").replace(":", "\\:").replace("${", "$\\{")
    return f"\\{escaped}" if escaped.startswith("[") else escaped


def _describe(host: str | None, port: int | None, path: str | None) -> str:
    if path is not None:
        return path
    if host is None:
        return str(port)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _config_ends(text: str) -> tuple[str, str]:
    """Listen and connect end of `ssh -G`; a path is printed as it is, spaces and all."""
    if text.startswith("["):
        host, mark, rest = text.partition("]:")
        port, _, connect = rest.partition(" ")
        return host + mark + port, connect
    if not text.startswith("/"):
        listen, _, connect = text.partition(" ")
        return listen, connect
    for mark in (" [", " /"):  # a path that holds one of these cannot be told from two ends
        listen, found, connect = text.partition(mark)
        if found:
            return listen, mark[1:] + connect
    return text, ""


def _config_end(text: str, line: str) -> tuple[str | None, int | None, str | None]:
    if text.startswith("["):
        host, mark, port = text[1:].rpartition("]:")
        if mark and port.isdigit():
            return host, int(port), None
    elif text.isdigit():
        return None, int(text), None
    elif "/" in text:
        return None, None, text.replace("%", "%%")  # ssh has expanded it; this % is a plain one
    raise ForwardError(f"{quoted(line)} is no forward of ssh -G")
