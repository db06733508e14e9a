"""Whose the listener at a port is, also where somebody else has signed in to look."""

from __future__ import annotations

import pytest

from sshwrap.doctor.facts import Known
from sshwrap.doctor.gather_server import Session, port_facts
from sshwrap.ssh.look import Listener, Look, Owner
from tests.unit.doctor.samples import WEB


def session(*owners: Owner) -> Session:
    listeners = tuple(Listener("127.0.0.1", WEB.listen_port or 0, 5000, owner) for owner in owners)
    return Session(look=Known(Look(listeners, (), None, None, 0, False)))


@pytest.mark.parametrize(
    ("owner", "is_up", "as_other", "is_ours"),
    [
        (Owner.ACCOUNT, True, False, True),
        (Owner.OTHER, True, False, True),  # ssh has confirmed it; dropbear listens as root
        (Owner.OTHER, True, True, True),  # root looks, and the tunnel is the account's
        (Owner.OTHER, False, True, False),
        (Owner.ACCOUNT, False, False, False),
    ],
)
def test_whose_it_is(owner: Owner, is_up: bool, as_other: bool, is_ours: bool) -> None:
    found = port_facts(session(owner), WEB, is_up=is_up, record=None, as_other=as_other)
    assert found.is_ours is is_ours


def test_nobody_s() -> None:
    assert not port_facts(session(), WEB, is_up=True, record=None, as_other=True).is_ours
