"""The project's own files, and what its modules import; for the tests that read them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sshwrap"
MADE_BY_TOOLS = {"build", "dist", "__pycache__"}
DOTTED_AND_OURS = {".ci", ".github"}


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that belongs to the project: not git's own, nor what a tool has made."""
    found = []
    for folder, below, names in os.walk(ROOT):
        below[:] = sorted(
            name
            for name in below
            if name not in MADE_BY_TOOLS
            and not name.endswith(".egg-info")
            and (not name.startswith(".") or name in DOTTED_AND_OURS)
        )
        found += [Path(folder, name) for name in sorted(names)]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module asks for, as "sshwrap.ssh.argv" or "collections.abc"."""

    name: str
    line: int
    at_import: bool  # it happens when the module is imported, not in a function or for types only


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """All that a module of the package imports, wherever it stands in it."""
    return tuple(_imports(parsed(path), path, at_import=True))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def module_name(path: Path) -> str:
    """sshwrap/ssh/argv.py -> sshwrap.ssh.argv; a package is named without `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    """The modules of the package by name."""
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _imports(node: ast.AST, path: Path, *, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_import)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, path)
            for alias in child.names:
                full = f"{base}.{alias.name}"  # a module of ours, or a name out of `base`
                yield Import(full if full in modules() else base, child.lineno, at_import)
        elif isinstance(child, ast.If) and _is_for_types_only(child.test):
            for statement in child.body:
                yield from _imports(ast.Module([statement], []), path, at_import=False)
            for statement in child.orelse:
                yield from _imports(ast.Module([statement], []), path, at_import=at_import)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, path, at_import=at_import and not inside)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if node.level == 0:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _is_for_types_only(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def reached_at_import(name: str) -> set[str]:
    """What is loaded when this module of the package is: ours all the way, others by name."""
    reached: set[str] = set()
    queue = [name]
    while queue:
        current = queue.pop()
        if current in reached:
            continue
        reached.add(current)
        if current in modules():
            queue += [one.name for one in imports(modules()[current]) if one.at_import]
            queue += [parent for parent in (current.rpartition(".")[0],) if parent]
    return reached
