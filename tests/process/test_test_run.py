"""scripts/test.py over small runs of pytest: what goes wrong in one of them is seen at its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import ROOT
from tests.support.waiting import wait_for

PASSES = "def test_passes(): pass\n"
FAILS = "def test_fails(): assert not 'this is wrong'\n"
SKIPS = "import pytest\ndef test_skips(): pytest.skip('not on this machine')\n"
DIES = "import os\ndef test_dies(): os._exit(3)\n"


ENVIRON = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they take a second to load


def program(folder: Path, first: str, *beside: str) -> list[str]:
    """scripts/test.py with these tests in the place of the project's own."""
    folders = []
    for number, text in enumerate((first, *beside)):
        folders.append(folder / f"part-{number}")
        folders[-1].mkdir()
        (folders[-1] / "pytest.ini").write_text("[pytest]\n")
        (folders[-1] / "test_it.py").write_text(text)
    parts = ", ".join(f"t.Part('part {n}', ({str(f)!r},))" for n, f in enumerate(folders))
    code = (
        "import sys; from scripts import test as t; "
        f"all = [{parts}]; t.first_part = lambda: all[0]; t.parts = lambda: all[1:]; "
        "sys.exit(t.main())"
    )
    return [sys.executable, "-c", code]


def ran(folder: Path, first: str, *beside: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program(folder, first, *beside),
        cwd=ROOT,
        env=ENVIRON,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_all_pass(tmp_path: Path) -> None:
    done = ran(tmp_path, PASSES, PASSES + SKIPS, PASSES)
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[-1].startswith("3 passed, 1 skipped in ")


def test_whatever_does_not_pass_is_seen(tmp_path: Path) -> None:
    done = ran(tmp_path, PASSES, FAILS, DIES, "import nothing_like_that\n", "", PASSES)
    assert done.returncode == 1, done
    assert done.stdout.splitlines()[-7:] == [
        "part 0: 1 passed",
        "part 1: 1 failed (exit status 1)",
        "part 2: no test ran (exit status 3)",
        "part 3: 1 error (exit status 2)",
        "part 4: no test ran (exit status 5)",
        "part 5: 1 passed",
        f"1 failed, 2 passed, 1 error in {done.stdout.split()[-1]}",
    ]
    (part,) = [one for one in done.stdout.split("\n===== ") if one.startswith("part 1: ")]
    assert "this is wrong" in part
    assert "1 failed in " in part


def test_nothing_is_begun_after_a_first_part_that_fails(tmp_path: Path) -> None:
    done = ran(tmp_path, FAILS, PASSES)
    assert done.returncode == 1
    assert "part 1" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 failed in ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_its_parts_in_order(tmp_path: Path, number: int) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    waits = (
        "import os, pathlib, threading\n"
        "def test_waits():\n"
        f"    pathlib.Path({str(there)!r}).write_text(str(os.getpid()))\n"
        "    try:\n"
        "        threading.Event().wait()\n"
        "    finally:\n"
        f"        pathlib.Path({str(gone)!r}).touch()\n"
    )
    with subprocess.Popen(
        program(tmp_path, PASSES, waits), cwd=ROOT, env=ENVIRON, stdout=subprocess.DEVNULL
    ) as child:
        wait_for(lambda: there.exists() and there.read_text(), within=60, what="it runs")
        child.send_signal(number)
        assert child.wait(timeout=60) == 130
    assert gone.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(there.read_text()), 0)
