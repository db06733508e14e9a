"""Units of systemd as how-tos have them: the command they run, or why it cannot be told."""

from __future__ import annotations

import pytest

from sshwrap.profile.unit_file import Unit, UnitError, read_environment, read_unit, split_words


def unit(text: str, name: str = "autossh.service", **files: str) -> Unit:
    specifiers = {"h": "/root", "u": "root"}
    return read_unit(text, file_name=name, specifiers=specifiers, read_file=files.get)


HOW_TO = """\
[Unit]
Description=AutoSSH tunnel service on local port 22
After=network.target
[Service]
Environment="AUTOSSH_GATETIME=0"
User=spmzt
ExecStart=/usr/bin/autossh -M 0 -o "ServerAliveInterval 30" \\
  ; a comment between
  -o 'ServerAliveCountMax 3' -NR 2022:localhost:22 user@vps -p 22
Restart=always
[Install]
WantedBy=multi-user.target
"""


def test_a_unit_of_a_how_to() -> None:
    found = unit(HOW_TO)
    assert found.words[:4] == ("/usr/bin/autossh", "-M", "0", "-o")
    assert found.words[4:7] == ("ServerAliveInterval 30", "-o", "ServerAliveCountMax 3")
    assert found.words[7:] == ("-NR", "2022:localhost:22", "user@vps", "-p", "22")
    assert (found.user, found.variables) == ("spmzt", {"AUTOSSH_GATETIME": "0"})
    assert found.description == "AutoSSH tunnel service on local port 22"
    assert found.notes == ("Restart=always: dropped: sshwrap tries again by itself",)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "-/usr/bin/ssh -R 1:a:1 %i.example.com",
            ("/usr/bin/ssh", "-R", "1:a:1", r"a\x2db.example.com"),
        ),
        ("ssh %I %p %N %n", ("ssh", "a-b", "t", r"t@a\x2db", r"t@a\x2db.service")),
        ("ssh %h/.ssh/id -o ControlPath=%%h", ("ssh", "/root/.ssh/id", "-o", "ControlPath=%h")),
        ("ssh ${PORT}:x $OPTS $$HOME", ("ssh", "22:x", "-N", "-T", "$HOME")),
        ("@/usr/bin/ssh tunnel vps", ("/usr/bin/ssh", "vps")),
    ],
)
def test_words(line: str, words: tuple[str, ...]) -> None:
    before = '[Service]\nEnvironment=PORT=22 "OPTS=-N -T"\nExecStart=/old\nExecStart=\n'
    text = f"{before}ExecStart={line}\n"
    assert unit(text, r"t@a\x2db.service").words == words


def test_an_environment_file() -> None:
    text = "[Service]\nEnvironmentFile=-/etc/default/t\nEnvironmentFile=/gone\nExecStart=ssh $T\n"
    found = unit(text, **{"/etc/default/t": '# x\nT="vps"\nAUTOSSH_POLL=60\n'})
    assert found.words == ("ssh", "vps")
    assert found.variables == {"T": "vps", "AUTOSSH_POLL": "60"}
    assert found.notes == ("EnvironmentFile=/gone: cannot be read",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ExecStart=ssh %i", "is a template, and its instance is not told"),
        ("ExecStart=ssh %m", '"%m" is known to systemd alone'),
        ("ExecStart=ssh ${X}", "X is set in no Environment="),
        ("ExecStart=ssh 'a", "a quote is not closed"),
        ("ExecStart=a\nExecStart=b", "has 2 ExecStart="),
        ("User=x", "has 0 ExecStart="),
    ],
)
def test_what_cannot_be_told(line: str, reason: str) -> None:
    with pytest.raises(UnitError, match=reason.replace("[", r"\[")):
        unit(f"[Service]\n{line}\n", "t@.service")


def test_quotes_and_escapes() -> None:
    assert split_words(r"""a "b c" 'd"e' f"g h"i \x41\s\n "" """) == [
        "a",
        "b c",
        'd"e',
        "fg hi",
        "A \n",
        "",
    ]
    assert read_environment("A=1 # no comment\nB='x y'\n;C=1\n") == {
        "A": "1 # no comment",
        "B": "x y",
    }
