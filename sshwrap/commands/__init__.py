"""One function a verb: arguments -> the rooms of the house -> what is shown."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from sshwrap.paths import Places

# Verb -> module and function; a verb's module is imported when it runs.
_WHERE = {
    "up": ("starting", "up"),
    "run": ("starting", "run"),
    "add": ("add", "add"),
    "down": ("change", "down"),
    "restart": ("change", "restart"),
    "reload": ("change", "reload"),
    "status": ("status", "status"),
    "logs": ("logs", "logs"),
    "show": ("show", "show"),
    "check": ("show", "check"),
    "doctor": ("doctor", "doctor"),
}


def run_verb(verb: str, options: Namespace, places: Places) -> int:
    """Run the verb; its exit status. Raises UserError."""
    module, function = _WHERE[verb]
    found = getattr(import_module(f"sshwrap.commands.{module}"), function)
    return int(found(options, places))
