"""Numbered journal entries, one a second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 11, 22, 10, tzinfo=UTC)


def entry(number: int, **more: Any) -> dict[str, Any]:
    at = (START + timedelta(seconds=number)).isoformat(timespec="milliseconds")
    moment = at.replace("+00:00", "Z")
    return {"at": moment, "profile": "web", "event": "notice", "text": str(number)} | more


def texts(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["text"] for entry in entries]


def numbers(start: int, stop: int) -> list[str]:
    return [str(number) for number in range(start, stop)]
