"""`sshwrap doctor --fix` on a real server: what is written, what sshd makes of it, what is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sshwrap.doctor.apply import Result
from tests.netlab.fixing import (
    BLOCK,
    Fix,
    line,
    listens_at,
    sshd_files,
    states,
)
from tests.netlab.lab import Lab


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Whose server has Debian's defaults."""
    lab = make_lab()
    lab.server.start_sshd()
    return lab


def test_a_drop_in_opens_the_account_alone(lab: Lab) -> None:
    assert listens_at(lab) == {"127.0.0.1", "::1"}
    pid = lab.server.sshd_pid
    with line(lab) as root:
        fix = Fix(lab)
        outcome = fix.apply(root)
        assert outcome.result is Result.APPLIED, outcome
        assert outcome.steps == ("baseline", "candidate", "armed", "installed", "reloaded")
    assert fix.sign_ins == 1
    assert lab.server.sshd_pid == pid
    assert listens_at(lab) == {"0.0.0.0", "::"}
    assert listens_at(lab, "root") == {"127.0.0.1", "::1"}
    assert sshd_files(lab)["sshd_config.d/00-sshwrap.conf"] == BLOCK
    assert states(lab) == ["confirmed"]
