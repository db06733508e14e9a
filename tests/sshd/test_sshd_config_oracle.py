"""Our reading of sshd_config against a real `sshd -T -C`, on configurations drawn at random.

SSHWRAP_SLOW=1 draws 5,000 instead of 150, and asks the sshd of every other system that
scripts/record-openssh has built as well.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from sshwrap.doctor.sshd_config import Criteria, Origin, Unsupported, evaluate, origin_of
from sshwrap.ssh.version import Version
from tests.support.needs import needs_sshd
from tests.support.sshd import find_sshd
from tests.support.sshd_configs import USERS, VALUES, Drawn, Oracle, draw, normal

pytestmark = needs_sshd

IS_SLOW = os.environ.get("SSHWRAP_SLOW") == "1"
BATCHES = 10
EACH = 500 if IS_SLOW else 15
SYSTEMS = Path(
    os.environ.get("SSHWRAP_SYSTEMS")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sshwrap" / "systems"
)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    key = tmp_path_factory.mktemp("key") / "host_key"
    make_key(key)
    program = find_sshd()
    assert program is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd -T wants it, as -t does
    return Oracle(program, str(key))


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
        shutil.rmtree(oracle.root + place)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_it_reads_as_sshd_does(oracle: Oracle, tmp_path: Path, batch: int) -> None:
    seeds = range(batch * EACH, (batch + 1) * EACH)
    compare(oracle, str(tmp_path), seeds, groups_here())
