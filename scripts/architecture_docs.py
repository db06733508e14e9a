#!/usr/bin/env python3
"""Write what docs/architecture.md repeats of the code: the states of a tunnel.

scripts/architecture_docs.py        (a unit test compares the page with what this makes)
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.generated import fill, write  # noqa: E402 (a script runs from anywhere)
from sshwrap.tunnel.machine import TRANSITIONS  # noqa: E402
from sshwrap.tunnel.model import State  # noqa: E402

PAGE = ROOT / "docs" / "architecture.md"

EVENTS = {
    "WantUp": "want up",
    "WantDown": "want down",
    "Deadline": "deadline",
    "Spawned": "spawned",
    "SpawnFailed": "spawn failed",
    "Heard": "heard",
    "Exited": "exited",
    "Renew": "reload",
    "Changed": "forwards changed",
    "Poke": "reconnect now",
    "Looked": "looked",
    "Knocked": "knocked",
    "LineDead": "line dead",
    "PortHeld": "port held",
    "Reclaiming": "reclaiming",
    "Reclaimed": "reclaimed",
}


def diagram() -> str:
    """Mermaid's state diagram: an arrow for each way out of a state, with the events that take it.

    What leaves the state as it is stands in the table below it.
    """
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", "    [*] --> down"]
    for state in State:
        for to in State:
            events = [
                EVENTS[event]
                for (source, event), targets in TRANSITIONS.items()
                if source is state and to in targets and to is not state
            ]
            if events:
                lines.append(f"    {state} --> {to}: {', '.join(events)}")
    return "\n".join([*lines, "```"])


def table() -> str:
    """Event by state: where it may lead; a dash where the event means nothing there."""
    rows = [
        "| event | " + " | ".join(f"in {state}" for state in State) + " |",
        "| --- |" + " --- |" * len(State),
    ]
    for event, word in EVENTS.items():
        cells = []
        for state in State:
            targets = TRANSITIONS.get((state, event), frozenset())
            cells.append(", ".join(to for to in State if to in targets) or "–")
        rows.append(f"| **{word}** | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def page(text: str) -> str:
    """`text` of architecture.md with its generated parts made anew."""
    parts = {"states": diagram(), "transitions": table()}
    return fill(text, parts, document=PAGE.name)


if __name__ == "__main__":
    write(PAGE, page(PAGE.read_text(encoding="utf-8")))
