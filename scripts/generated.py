"""Parts of a document that are made from the code, between two comments that name them.

<!-- generated: NAME -->
…
<!-- end: NAME -->
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def fill(text: str, parts: Mapping[str, str], *, document: str) -> str:
    """`text` with these parts made anew; SystemExit where one has no place in it."""
    for name, part in parts.items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            raise SystemExit(f"{document}: no place for the generated part {name!r}")
        text = f"{head}{begin}{part}\n{end}{tail}"
    return text


def write(path: Path, text: str) -> None:
    """Only where it says something else by now, and said on stderr then."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        sys.stderr.write(f"{path.name}: written\n")
