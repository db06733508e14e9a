"""Our reading of sshd_config against a real `sshd -T -C`, on configurations drawn at random.

SSHWRAP_SLOW=1 draws 5,000 instead of 150, and asks the sshd of other systems as well, where
scripts/systems has built them: each in its own root, of which nothing changes.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from sshwrap.doctor.sshd_config import Criteria, Origin, Unsupported, evaluate, origin_of
from sshwrap.ssh.version import Version
from tests.netlab.server import system
from tests.support.needs import needs_sshd
from tests.support.sshd import find_sshd
from tests.support.sshd_configs import USERS, VALUES, Drawn, Oracle, draw, normal

pytestmark = needs_sshd

IS_SLOW = os.environ.get("SSHWRAP_SLOW") == "1"
BATCHES = 10
EACH = 500 if IS_SLOW else 15


SYSTEMS = ("", "bullseye", "trixie") if IS_SLOW else ("",)
# The files that it is asked about are seen in there as well, in a mount namespace of its own.
IN_ANOTHER_SYSTEM = """#!/bin/sh
exec unshare -m sh -c 'mount --rbind /tmp "$0/tmp" && mkdir -p "$0/run/sshd" &&
    exec chroot "$0" /usr/sbin/sshd "$@"' {root} "$@"
"""


@pytest.fixture(scope="module", params=SYSTEMS)
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    folder = tmp_path_factory.mktemp("key")
    key = folder / "host_key"
    make_key(key)
    if request.param:
        return Oracle(str(sshd_of(request.param, folder)), str(key))
    program = find_sshd()
    assert program is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd -T wants it, as -t does
    return Oracle(program, str(key))


def sshd_of(name: str, folder: Path) -> Path:
    """A program that is the sshd of that system."""
    try:
        root = system(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if os.geteuid() != 0:
        pytest.skip("only root can enter another system")
    if not folder.is_relative_to("/tmp"):
        pytest.skip("its files would not be seen there: pytest's folder is not below /tmp")
    program = folder / "sshd"
    program.write_text(IN_ANOTHER_SYSTEM.format(root=shlex.quote(root)))
    program.chmod(0o755)
    return program


def make_key(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@cache
def groups_here() -> Mapping[str, tuple[str, ...]]:
    found = {}
    for user in USERS:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            found[user] = ()
            continue
        numbers = os.getgrouplist(user, entry.pw_gid)
        found[user] = tuple(grp.getgrgid(number).gr_name for number in numbers)
    return found


def disagreements(
    oracle: Oracle, drawn: Drawn, version: Version, defaults: Mapping[str, list[str]]
) -> Iterator[str]:
    for criteria in drawn.connections:
        said = oracle.ask(drawn.main, criteria)
        reading = evaluate(drawn.files, drawn.main, criteria, version=version)
        assert not isinstance(reading, Unsupported), reading
        for keyword in map(str.lower, VALUES):
            origin = origin_of(reading, keyword)
            if keyword == "ipqos" and isinstance(origin, Unsupported):
                continue
            assert isinstance(origin, Origin), origin
            expected = normal(keyword, said.get(keyword, []))
            if ours(origin, defaults) != expected:
                yield f"{criteria}: {keyword}: {origin} and sshd: {expected}"


def ours(origin: Origin, defaults: Mapping[str, list[str]]) -> list[str]:
    if origin.winner is None:
        return normal(origin.keyword, defaults.get(origin.keyword, []))
    return normal(origin.keyword, [one.argument for one in (origin.winner, *origin.also)])


def compare(
    oracle: Oracle, folder: str, seeds: range, groups: Mapping[str, tuple[str, ...]]
) -> None:
    version = oracle.version()
    empty = f"{folder}/empty"
    oracle.write({empty: ""})
    defaults = oracle.ask(empty, Criteria("root", "h", "10.0.0.1", "10.0.0.2", 22))
    for seed in seeds:
        place = f"{folder}/{seed}"
        drawn = draw(seed, place, version, groups)
        oracle.write(drawn.files)
        found = list(disagreements(oracle, drawn, version, defaults))
        shown = "".join(f"--- {path}\n{text}\n" for path, text in drawn.files.items())
        assert not found, f"seed {seed}\n" + "\n".join(found) + f"\n{shown}"
        shutil.rmtree(place)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_it_reads_as_sshd_does(oracle: Oracle, tmp_path: Path, batch: int) -> None:
    seeds = range(batch * EACH, (batch + 1) * EACH)
    compare(oracle, str(tmp_path), seeds, groups_here())
