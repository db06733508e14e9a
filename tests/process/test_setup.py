"""scripts/setup says what it installs, and what it cannot; nothing is installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import ROOT

BASICS = ("sh", "cat", "cksum", "dirname", "grep", "mktemp", "rm", "sed", "tail", "uname")


class Machine:
    """A copy of the script among programs of our choice: the PATH holds nothing else."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "a checkout"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.checkout / "scripts").mkdir(parents=True)
        for name in ("scripts/setup", "pyproject.toml", "requirements.txt", "requirements-dev.txt"):
            shutil.copy(ROOT / name, self.checkout / name)
        for name in BASICS:
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)
        self.program("id", "echo 1000")
        self.program("python3", f'exec "{sys.executable}" "$@"')
        self.program("ssh", "exit 0")
        self.program("sshd", "exit 0")

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def setup(self, *arguments: str, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            ["scripts/setup", *arguments],
            cwd=self.checkout,
            env={"PATH": str(self.bin), "HOME": os.devnull, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout == ""
        return done.returncode, done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if shutil.which("autossh", path="/usr/local/sbin:/usr/sbin:/sbin"):
        pytest.skip("autossh stands where the script looks by itself")
    return Machine(tmp_path)


def test_an_unknown_mode_shows_the_modes(machine: Machine) -> None:
    status, said = machine.setup("everything")
    assert status == 2
    assert all(f"scripts/setup {mode} " in said for mode in ("run", "demo", "dev", "bench"))
    assert "set -eu" not in said


def test_without_apt_get_the_packages_are_named(machine: Machine) -> None:
    assert machine.setup("bench") == (
        1,
        "scripts/setup: this system has no apt-get: please install what Debian calls autossh,"
        " then try again\n",
    )


def test_without_root_and_sudo_the_packages_are_named(machine: Machine) -> None:
    machine.program("apt-get", "exit 0")
    assert machine.setup("bench") == (
        1,
        "scripts/setup: not root, and no sudo: please have autossh installed"
        " (as root: apt-get install autossh)\n",
    )


def test_sudo_is_told_before_it_asks(machine: Machine) -> None:
    machine.program("apt-get", "exit 0")
    machine.program("sudo", 'echo "sudo was run: $*" >&2; exit 1')
    assert machine.setup("bench") == (
        1,
        "scripts/setup: installing autossh (apt-get, by sudo: it may ask for your password)\n"
        "sudo was run: sh scripts/setup --as-root autossh\n"
        "scripts/setup: sudo apt-get could not install autossh: please have them installed,"
        " then try again\n",
    )


def test_a_python_without_ensurepip_is_a_package_to_install(machine: Machine) -> None:
    answers = 'case "$2" in *ensurepip*) exit 1;; *print*) echo python3.13-venv;; esac; exit 0'
    machine.program("python3", answers)
    status, said = machine.setup("run")
    assert status == 1
    assert "please install what Debian calls python3.13-venv, then" in said


def test_only_an_old_python_is_said(machine: Machine) -> None:
    machine.program("python3", "exit 1")
    status, said = machine.setup("run")
    assert status == 1
    assert "needs Python 3.11 or newer, and there is none on PATH" in said


def test_a_python_that_is_asked_for_is_held_to_it(machine: Machine) -> None:
    assert machine.setup("run", PYTHON="python9") == (
        1,
        'scripts/setup: PYTHON: "python9" is no program\n',
    )
    machine.program("python3.10", "exit 1")
    assert machine.setup("run", PYTHON="python3.10") == (
        1,
        'scripts/setup: PYTHON: "python3.10" is not Python 3.11 or newer\n',
    )


def test_what_is_made_already_is_left_alone(machine: Machine) -> None:
    """The virtual environment is a made-up one: that nothing is run is what is looked at."""
    calls = machine.checkout / "calls"
    machine.program(
        "python3",
        f'echo "$*" >>"{calls}"\n'
        'if [ "$2" = venv ]; then\n'
        "    /bin/mkdir -p .venv/bin\n"
        f'    printf "#!/bin/sh\\necho pip >>\\"{calls}\\"\\n" >.venv/bin/python\n'
        "    /bin/chmod +x .venv/bin/python\n"
        "fi",
    )
    assert machine.setup("run")[0] == 0
    assert calls.read_text().splitlines()[-3:] == ["-m venv .venv", "pip", "pip"]
    calls.unlink()
    assert machine.setup("run") == (0, "")
    assert not calls.exists()
    with (machine.checkout / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    assert machine.setup("run")[0] == 0
    assert "-m venv .venv" in calls.read_text()


def test_bare_make_lists_the_targets() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make on this machine")
    done = subprocess.run([make, "-C", str(ROOT)], capture_output=True, text=True, check=True)
    listed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")]
    for target in ("demo", "test", "lint", "types", "bench", "docs", "clean", "up", "down"):
        assert target in listed
