"""Text into cells: measure, cut, pad and wrap, wide characters counted as the terminal draws them.

Law. No line that leaves here is wider than was asked. rich knows how wide a character is; it is
only loaded for text that holds more than ASCII and our own few signs.
"""

from __future__ import annotations

_OURS = str.maketrans("→…·", ">..")


def width(text: str) -> int:
    """Cells that `text` takes."""
    if text.isascii() or text.translate(_OURS).isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def split_at(text: str, cells: int) -> tuple[str, str]:
    """The longest beginning of at most `cells` cells, and the rest."""
    if width(text) <= cells:
        return text, ""
    used = 0
    for index, char in enumerate(text):
        used += width(char)
        if used > cells:
            return text[:index], text[index:]
    # The sum of the parts is the measure; a joined sequence may count for less than its parts.
    return text, ""


def cut(text: str, cells: int, sign: str) -> str:
    """`text` in at most `cells` cells, the sign at the end where something is missing."""
    if width(text) <= cells:
        return text
    if cells <= width(sign):
        return split_at(text, cells)[0]
    return split_at(text, cells - width(sign))[0].rstrip() + sign


def hang(text: str, cells: int, indent: int) -> list[str]:
    """`text` as it stands, and where it is too wide the rest below it, `indent` cells in."""
    if width(text) <= cells:
        return [text]
    first = split_at(text, cells)[0]
    first = first[: first.rfind(" ") + 1].rstrip() or first
    if indent >= cells:
        indent = 0
    return [first, *(" " * indent + each for each in wrap(text[len(first) :], cells - indent))]


def pad(text: str, cells: int) -> str:
    return text + " " * (cells - width(text))


def wrap(text: str, cells: int) -> list[str]:
    """`text` broken at spaces into lines of at most `cells`; a longer word is broken anywhere.

    `cells` below 1 counts as 1. A character wider than that is dropped: it cannot be shown.
    """
    cells = max(cells, 1)
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if width(joined) <= cells:
            line = joined
            continue
        if line:
            lines.append(line)
        line = word
        while width(line) > cells:
            start, line = split_at(line, cells)
            if start:
                lines.append(start)
            else:
                line = line[1:]
    if line:
        lines.append(line)
    return lines
