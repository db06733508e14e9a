"""The fake ssh does what its scenario says, and says what the real one says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.evidence import Progress, classify_line
from tests.support import scenarios

Run = Callable[..., subprocess.CompletedProcess[str]]
RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("*/*.json"))

WEB = Forward(
    Kind.REMOTE, "*:12345:localhost:8080", "*", 12345, connect_host="localhost", connect_port=8080
)
ANY = Forward(
    Kind.REMOTE, "0:localhost:80", listen_port=0, connect_host="localhost", connect_port=80
)
SOCKET = Forward(Kind.REMOTE, "/r:/l", listen_path="/r", connect_path="/l")
SOCKS = Forward(Kind.REMOTE, "1080", listen_port=1080)
LOCAL = Forward(Kind.LOCAL, "1:h:2", listen_port=1, connect_host="h", connect_port=2)


@pytest.fixture
def ssh(tmp_path: Path) -> Run:
    """Run it to its end with these arguments; stdout is the log."""
    program = scenarios.install(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), *arguments],
            env={**os.environ, "FAKE_SSH_SCENARIO": str(tmp_path / "told")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_each_start_has_its_scenario_and_the_last_serves_the_rest(ssh: Run, tmp_path: Path) -> None:
    folder = scenarios.write(
        tmp_path / "told",
        scenarios.failing(["one"], status=1),
        scenarios.failing(["two"], said=["words"], status=2),
    )
    assert scenarios.started(folder, 1) is None
    runs = [ssh("-N", "-vE", "/dev/stdout", "--", "root@vps") for _ in range(3)]
    assert [run.stdout for run in runs] == ["one\n", "two\n", "two\n"]  # text: \r\n is \n
    assert [run.stderr for run in runs] == ["", "words\n", "words\n"]
    assert [run.returncode for run in runs] == [1, 2, 2]
    assert scenarios.starts(folder) == 3
    third = scenarios.started(folder, 3)
    assert third is not None
    assert third["argv"][1:] == ["-N", "-vE", "/dev/stdout", "--", "root@vps"]


def test_a_destination_may_have_its_own(ssh: Run, tmp_path: Path) -> None:
    folder = scenarios.write(
        tmp_path / "told", scenarios.failing(status=1), version="OpenSSH_8.4p1"
    )
    scenarios.write(folder / "other", scenarios.failing(status=2), effective=["hostname far"])
    assert ssh("-N", "--", "me@vps").returncode == 1
    assert ssh("-N", "--", "me@other").returncode == 2
    assert ssh("-V").stderr == "OpenSSH_8.4p1\n"
    assert ssh("-G", "--", "other").stdout == "hostname far\n"
    assert (scenarios.starts(folder), scenarios.starts(folder / "other")) == (1, 1)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs the system's ssh")
def test_the_effective_configuration_is_the_real_ones(ssh: Run, tmp_path: Path) -> None:
    scenarios.write(tmp_path / "told", [["exit", 0]])
    said = ssh("-G", "-N", "-R", "*:5:localhost:6", "-p", "2222", "--", "root@vps").stdout
    assert {"user root", "hostname vps", "port 2222"} <= set(said.splitlines())
    assert "remoteforward [*]:5 [localhost]:6" in said.splitlines()


def test_an_unknown_option_ends_it_as_ssh_does(ssh: Run, tmp_path: Path) -> None:
    scenarios.write(tmp_path / "told", [["exit", 0]])
    done = ssh("-Z", "--", "vps")
    assert (done.returncode, done.stderr) == (255, "unknown option -- Z\n")


def test_the_words_of_a_tunnel_that_comes_up_are_understood() -> None:
    forwards = [WEB, ANY, SOCKET, SOCKS, LOCAL]
    lines = [text for kind, text in scenarios.sign_in() if kind == "log"]
    lines += scenarios.confirmed_lines(forwards, allocated=[40001])
    found = [evidence.kind for line in lines if (evidence := classify_line(line)) is not None]
    assert found.count(Progress.AUTHENTICATED) == 1
    assert found.count(Progress.FORWARD_CONFIRMED) == 4
    assert found.count(Progress.PORT_ALLOCATED) == 1
    assert found[-1] == Progress.ALL_CONFIRMED


def test_a_tunnel_with_local_forwards_only_awaits_no_reply() -> None:
    assert scenarios.confirmed_lines([LOCAL]) == ["debug1: Entering interactive session."]


@pytest.mark.parametrize("path", RECORDINGS[:3], ids=lambda path: path.stem)
def test_a_recording_is_said_again(ssh: Run, tmp_path: Path, path: Path) -> None:
    recording = json.loads(path.read_text())
    scenarios.write(tmp_path / "told", scenarios.recorded(path))
    done = ssh("-N", "-E", "/dev/stdout", "--", "vps")
    for where, said in (("log", done.stdout), ("terminal", done.stderr)):
        text = "".join(text for source, text in recording["events"] if source == where)
        assert said == text.replace("\r\n", "\n")
    assert done.returncode == recording["exit"].get("status", -recording["exit"].get("signal", 0))
