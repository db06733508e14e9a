"""The house: which way imports point, what is pure, what is loaded late; read from the sources.

The order of the rooms is the order of the data,
`profile → ssh → tunnel → supervisor → doctor → render`:
a module may import its own room and those before it, never one after it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sources import (
    PACKAGE,
    ROOT,
    imports,
    module_name,
    modules,
    parsed,
    project_files,
    reached_at_import,
)

LINE = ("profile", "ssh", "tunnel", "supervisor", "doctor", "render")
PURE = ("profile", "ssh", "tunnel")
READS_FILES = {"sshwrap.profile.file"}  # the one module of a pure room that is not
# doctor/ asks the world in some modules; these judge and plan, and are as pure as those rooms.
DOCTOR_ASKS = {"apply", "gather", "remote"}

# What stands beside the rooms, and what of ours it may import.
BESIDE = {
    "__init__": frozenset[str](),
    "errors": frozenset[str](),
    "paths": frozenset({"errors"}),
    "commands": frozenset({*LINE, "errors", "paths", "commands"}),
    "cli": frozenset({*LINE, "errors", "paths", "commands", "cli"}),
    "__main__": frozenset({"cli"}),
}

# The pure parts of the standard library: no clock, randomness, process, socket or file.
PURE_LIBRARY = {
    *("__future__", "abc", "base64", "binascii", "bisect", "collections", "collections.abc"),
    *("copy", "dataclasses", "datetime", "difflib", "enum", "fnmatch", "functools", "hashlib"),
    *("heapq", "ipaddress", "itertools", "json", "math", "operator", "re", "shlex", "string"),
    *("struct", "textwrap", "tomllib", "types", "typing", "unicodedata", "urllib.parse"),
    "signal",  # for the numbers; see impure_calls
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "breakpoint", "__import__"}
CLOCKS = {"now", "utcnow", "today"}  # of datetime and date, whose other parts are pure

# `status --json` passes here, and has to cost no more than a few starts of Python.
LIGHT = ("sshwrap.errors", "sshwrap.paths", "sshwrap.supervisor.ipc", "sshwrap.tunnel.snapshot")
HEAVY = {
    *("asyncio", "argparse", "dataclasses", "inspect", "logging", "pathlib", "pexpect", "rich"),
    *("subprocess", "tempfile", "tomllib", "typing"),
}

ALL = sorted(modules().items())


def room_of(name: str) -> str:
    """sshwrap.ssh.argv -> ssh; sshwrap -> __init__."""
    return name.split(".")[1] if "." in name else "__init__"


def is_pure(name: str) -> bool:
    if room_of(name) == "doctor":
        parts = name.split(".")
        return len(parts) > 2 and parts[2].partition("_")[0] not in DOCTOR_ASKS
    return room_of(name) in PURE and name not in READS_FILES


def may_import(room: str) -> frozenset[str]:
    if room in BESIDE:
        return BESIDE[room]
    paths = set() if room in PURE else {"paths"}
    return frozenset({*LINE[: LINE.index(room) + 1], "errors", *paths})


def test_every_module_has_its_room() -> None:
    assert [name for name, _ in ALL if room_of(name) not in {*LINE, *BESIDE}] == []


def test_imports_point_back() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{one.line}: {one.name}"
        for name, path in ALL
        for one in imports(path)
        if one.name.split(".")[0] == "sshwrap"
        and room_of(one.name) not in may_import(room_of(name)) | {"__init__"}
    ]
    assert wrong == []


def test_pure_rooms_know_no_world() -> None:
    wrong = []
    for name, path in ALL:
        if not is_pure(name):
            continue
        found = [
            (one.line, f"imports {one.name}")
            for one in imports(path)
            if one.name in READS_FILES
            or (one.name.split(".")[0] != "sshwrap" and one.name not in PURE_LIBRARY)
        ]
        found += [(node.lineno, f"calls {what}") for node, what in impure_calls(parsed(path))]
        wrong += [f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in sorted(found)]
    assert wrong == []


def impure_calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                yield node, node.func.id
            if isinstance(node.func, ast.Attribute):
                if node.func.attr in CLOCKS:
                    yield node, f".{node.func.attr}"
                if ast.unparse(node.func.value) == "signal" and node.func.attr != "Signals":
                    yield node, f"signal.{node.func.attr}"


def test_the_search_for_impure_calls_finds_them() -> None:
    tree = ast.parse("x = open('f')\ny = datetime.datetime.now()\nz = renew(now)\nsignal.alarm(1)")
    found = [what for _, what in impure_calls(tree)]
    assert found == ["open", ".now", "signal.alarm"]


def test_only_the_standard_library_and_two_others_are_imported() -> None:
    known = {*sys.stdlib_module_names, "sshwrap", "pexpect", "ptyprocess", "rich"}
    found = {one.name.split(".")[0] for path in modules().values() for one in imports(path)}
    assert found - known == set()


def test_pexpect_is_imported_in_two_modules_at_most() -> None:
    assert len(importers_of("pexpect", "ptyprocess")) <= 2


def test_rich_is_imported_only_by_render() -> None:
    assert [name for name in importers_of("rich") if room_of(name) != "render"] == []


def importers_of(*packages: str) -> list[str]:
    return [
        name
        for name, path in ALL
        if any(one.name.split(".")[0] in packages for one in imports(path))
    ]


def test_rich_is_loaded_late() -> None:
    """A background supervisor never loads it, and no command before it has something to show."""
    early = [
        name
        for name, _ in ALL
        if room_of(name) != "render"
        and any(one.split(".")[0] == "rich" for one in reached_at_import(name))
    ]
    assert early == []


@pytest.mark.parametrize("name", [name for name in LIGHT if name in modules()])
def test_what_status_json_passes_is_light(name: str) -> None:
    loaded = {one if one in HEAVY else one.split(".")[0] for one in reached_at_import(name)}
    assert loaded & HEAVY == set()


def test_snapshots_need_nothing_at_run_time() -> None:
    loaded = [one for one in imports(PACKAGE / "tunnel" / "snapshot.py") if one.at_import]
    assert {one.name for one in loaded} <= {"__future__"}


def test_the_reader_of_imports_sees_functions_and_types_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = (
        "import os\n"
        "from . import snapshot\n"
        "from ..ssh.failure import Failure\n"
        "if TYPE_CHECKING:\n"
        "    import rich\n"
        "def f():\n"
        "    import asyncio\n"
        "class C:\n"
        "    import re\n"
    )
    path = PACKAGE / "tunnel" / "imagined.py"
    monkeypatch.setattr(Path, "read_text", lambda _: source)
    assert [(one.name, one.at_import) for one in imports.__wrapped__(path)] == [
        ("os", True),
        ("sshwrap.tunnel.snapshot", True),
        ("sshwrap.ssh.failure", True),
        ("rich", False),
        ("asyncio", False),
        ("re", True),
    ]
    parsed.cache_clear()  # what was read of the imagined module


CODE = [path for path in project_files() if path.suffix == ".py" or path.parent.name == "scripts"]


def test_no_file_of_code_is_above_500_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in CODE
        if (count := path.read_text(errors="replace").count("\n")) > 500
    }
    assert long == {}


def test_tests_never_sleep() -> None:
    """They wait for facts: tests/support/waiting.py."""
    sleep = re.compile(r"\bsleep\(|\bimport sleep\b|import .*\bsleep\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if sleep.search(line)
    ]
    assert found == []


def test_no_package_index_is_named() -> None:
    """Which one is asked is for the machine to say that installs."""
    hosts = ["py" + "pi.org", "python" + "hosted.org", "py" + "pi.python.org"]
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in project_files()
        for host in hosts
        if host.encode() in path.read_bytes()
    ]
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    without = [
        module_name(path) for path in modules().values() if not ast.get_docstring(parsed(path))
    ]
    assert without == []
