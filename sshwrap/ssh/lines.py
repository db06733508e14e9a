r"""Bytes of ssh -> complete clean lines, bounded whatever comes.

Laws. A line ends at \n and nowhere else: a \r inside a line, or a Unicode line separator, cannot
begin a new one (a server's text could otherwise pose as a line of ssh's own). What leaves here
holds no control character and no character that hides or reorders text.
"""

from __future__ import annotations

import unicodedata

MAX_LINE = 4096  # characters; ssh's own lines stay under 1 KiB
_MAX_BYTES = 4 * MAX_LINE  # enough for MAX_LINE characters of UTF-8


def clean(text: str) -> str:
    r"""`text`; what a terminal would obey made visible as OpenSSH does (`\033`), tab a space."""
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character == "\t":
        return " "
    # Zs: the wide space of Chinese and Japanese text is not "printable" to Python.
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogatepass"))


def bounded(text: str, limit: int) -> str:
    """`text`, cut to `limit` characters with "…" where it is longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


class LineSplitter:
    """Holds the begun line of one stream: at most 16 KiB, however long that line gets."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes, without blank ones."""
        *complete, rest = data.split(b"\n")
        lines = []
        if complete:
            self._keep(complete[0])
            complete[0] = bytes(self._begun)
            self._begun.clear()
            lines = _decode_all(complete)
        self._keep(rest)
        return lines

    def flush(self) -> list[str]:
        """The begun line, if any: at the end of the stream, or where a prompt waits."""
        line = _decode(bytes(self._begun))
        self._begun.clear()
        return [line] if line else []

    def _keep(self, data: bytes) -> None:
        # One byte past the bound stays, so that `bounded` sees that something was cut.
        self._begun += data[: max(0, _MAX_BYTES + 1 - len(self._begun))]


def _decode_all(complete: list[bytes]) -> list[str]:
    """Each as `_decode` has it, without blank ones."""
    raw = b"\n".join(complete)
    if raw.isascii() and max(map(len, complete)) <= MAX_LINE:
        # Nearly always: a busy tunnel says thousands of plain lines a second.
        text = raw.decode("ascii").replace("\r\n", "\n").removesuffix("\r")
        if text.replace("\n", "").isprintable():
            return [line for line in text.split("\n") if line]
    return [line for line in map(_decode, complete) if line]


def _decode(raw: bytes) -> str:
    # The cut before the decoding keeps one enormous chunk from becoming one enormous string.
    # A pty makes \r\r\n of ssh's \r\n; ssh begins a prompt with \r.
    text = raw[: _MAX_BYTES + 1].strip(b"\r").decode("utf-8", "replace")
    return bounded(clean(text), MAX_LINE)
