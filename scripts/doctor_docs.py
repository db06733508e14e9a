#!/usr/bin/env python3
"""Write what docs/doctor.md repeats of the checks: each with its section and its title.

scripts/doctor_docs.py        (a unit test compares the page with what this makes)
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.generated import fill, write  # noqa: E402 (a script runs from anywhere)
from sshwrap.doctor.checks import CHECKS  # noqa: E402

PAGE = ROOT / "docs" / "doctor.md"


def checks_table() -> str:
    rows = ["| section | check | well is |", "| --- | --- | --- |"]
    told = None
    for check in CHECKS:
        section = "" if check.section is told else check.section.value
        told = check.section
        rows.append(f"| {section} | [`{check.id}`](#{check.id}) | {check.title} |")
    return "\n".join(rows)


def page(text: str) -> str:
    return fill(text, {"checks": checks_table()}, document=PAGE.name)


if __name__ == "__main__":
    write(PAGE, page(PAGE.read_text(encoding="utf-8")))
