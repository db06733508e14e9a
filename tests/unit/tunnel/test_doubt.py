"""When a silent line is dead: what the kernel shows, by hand; and lines that lose packets, by lot.

`Line` is TCP as Linux does it, as seen in a lab: the first packet is sent again after 0.21 s (the
tail loss probe, which no counter shows), then by a timer of 0.21 s that doubles.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from random import Random

import pytest

from sshwrap.tunnel.doubt import (
    AHEAD,
    CLOSE,
    EVIDENCE,
    FORGET,
    GRACE_LEAST,
    NEAR,
    PAUSE,
    REASON_LASTS,
    SIGN_INS_MOST,
    Doubt,
    Seen,
    SignedIn,
    Step,
    Why,
    acquitted,
    looked,
    patience,
    signed_in,
    silent_retransmits,
    suspected,
)

TIMEOUT = 0.21
Lost = Callable[[float], bool]  # whether what is sent at that time goes unanswered


class Line:
    """A connection over which one keepalive is sent at 0, the last word heard `heard` before."""

    def __init__(self, lost: Lost, heard: float = 15.0) -> None:
        self.first_heard = -heard
        self.answered = 0.0 if not lost(0.0) else None  # when
        self.resent: list[float] = []  # by the timer
        at, gap = TIMEOUT, TIMEOUT
        if self.answered is None and not lost(at):
            self.answered = at
        while self.answered is None and at < 100:
            at, gap = at + gap, 2 * gap
            self.resent.append(at)
            if not lost(at):
                self.answered = at

    def seen(self, now: float) -> Seen:
        if self.answered is not None and now >= self.answered:
            ago = now - self.answered
            return Seen(0, 0, 0.0, TIMEOUT, ago, ago, 1, len(self.resent), 0.0)
        count = sum(at <= now for at in self.resent)
        timeout = TIMEOUT * 2.0**count
        last = self.resent[count - 1] if count else max(0.0, now // TIMEOUT * TIMEOUT)
        ago = now - self.first_heard
        due = max(0.0, last + timeout - now)
        return Seen(52, count, due, timeout, ago, ago, 1, count, 0.0)


SignIn = Callable[[float], tuple[float, SignedIn]]  # began -> (seconds that it takes, its end)


def good(began: float) -> tuple[float, SignedIn]:
    return 0.35, SignedIn(True, is_clean=True)


def elsewhere(began: float) -> tuple[float, SignedIn]:
    return 0.35, SignedIn(True, is_clean=True, elsewhere=True)


def nobody(began: float) -> tuple[float, SignedIn]:
    return 10.0, SignedIn(False)


class Trial:
    """What becomes of one keepalive: `dead` is when the line was called so, None if it was not."""

    def __init__(
        self, line: Line, sign_in: SignIn, doubt: Doubt, *, start: float = 1.0, until: float = 45.0
    ) -> None:
        self.dead: float | None = None
        self.reason = ""
        self.began: list[float] = []
        self.looks = 0
        now, ends = start, None
        while now < until and (line.answered is None or now < line.answered + CLOSE):
            if ends is not None and now >= ends[0]:
                doubt, ends = signed_in(doubt, ends[1], now), None
            doubt, step = looked(doubt, line.seen(now), now)
            self.looks += 1
            if step.dead is not None:
                self.dead, self.reason = now, step.dead
                break
            if doubt.signing_in is None:
                ends = None
            if step.sign_in:
                self.began.append(now)
                took, answer = sign_in(now)
                ends = now + took, answer
            now += step.pause
            if ends is not None:
                now = min(now, ends[0])
        self.doubt = doubt


def always(_: float) -> bool:
    return True


def trial(lost: Lost, sign_in: SignIn, **more: float) -> Trial:
    return Trial(Line(lost), sign_in, Doubt(15.0), **more)


# --- what the kernel shows -----------------------------------------------------------------------


def test_retransmissions_are_dated_by_the_timeout_that_doubles() -> None:
    line = Line(always)
    assert line.resent[:5] == pytest.approx([0.42, 0.84, 1.68, 3.36, 6.72])
    for now in (0.3, 0.5, 2.0, 7.0):
        happened = [at for at in reversed(line.resent) if at <= now]
        dated = [now - ago for ago in silent_retransmits(line.seen(now))]
        assert dated == pytest.approx(happened)


def test_what_was_sent_before_the_last_word_was_heard_does_not_count() -> None:
    seen = Line(always).seen(3.5)  # sent again 0.14, 1.82, 2.66 and 3.08 s ago
    assert len(silent_retransmits(seen)) == 4
    assert len(silent_retransmits(seen._replace(heard=2.0))) == 2
    assert silent_retransmits(seen._replace(heard=0.1)) == ()
    assert silent_retransmits(seen._replace(unacked=0)) == ()


# --- a dead line ---------------------------------------------------------------------------------


def test_another_address_ends_it_within_three_seconds_of_the_keepalive() -> None:
    done = trial(always, elsewhere)
    assert done.dead is not None
    assert 1.68 + GRACE_LEAST <= done.dead < 2.5
    assert done.began == [1.0]
    assert done.reason == (
        "nothing has come from the server for 17 s and what was sent to it 4 times is not "
        "acknowledged, though another sign-in from another address got through in 0.4 s"
    )


def test_from_the_same_address_it_takes_two_sign_ins() -> None:
    done = trial(always, good)
    assert done.dead is not None
    assert 6.72 < done.dead < 7.5
    assert len(done.began) == 2
    assert "from another address" not in done.reason


def test_one_slow_sign_in_is_not_two() -> None:
    done = trial(always, lambda began: (5.8, SignedIn(True, is_clean=True)))
    assert done.dead is not None
    assert len(done.doubt.windows) >= 2
    assert done.dead > 8


@pytest.mark.parametrize("why", Why)
def test_a_reason_that_is_no_consequence_of_loss_is_evidence(why: Why) -> None:
    doubt = suspected(Doubt(15.0), why, 0.0)
    done = Trial(Line(always), good, doubt, start=0.0)
    assert done.dead is not None
    assert (done.dead < 2.5) == (why in EVIDENCE)
    assert {Why.WOKE, Why.MOVED} == EVIDENCE


def test_after_a_sleep_a_sign_in_is_made_at_once() -> None:
    done = Trial(Line(always), good, suspected(Doubt(15.0), Why.WOKE, 0.0), start=0.0)
    assert done.began[0] == 0.0
    moved = Trial(Line(always), good, suspected(Doubt(15.0), Why.MOVED, 0.0), start=0.0)
    assert 0.84 <= moved.began[0] < 1.0


def test_evidence_outlives_a_weaker_reason_and_ends_by_itself() -> None:
    doubt = suspected(suspected(Doubt(15.0), Why.WOKE, 0.0), Why.PROBE, 5.0)
    assert doubt.reason is Why.WOKE
    assert suspected(doubt, Why.PROBE, REASON_LASTS + 1).reason is Why.PROBE
    quiet, _ = looked(doubt, Line(always).seen(0.1), REASON_LASTS)
    assert quiet.reason is None


# --- a line that lives ---------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.3, 1.0, 3.0, 10.0])
def test_delay_alone_is_never_death(delay: float) -> None:
    """An answer comes `delay` after what it answers; a sign-in takes twelve of them."""

    def slow(began: float) -> tuple[float, SignedIn]:
        return 12 * delay, SignedIn(True, is_clean=True, elsewhere=True, round_trip=delay)

    line = Line(always)
    line.answered = delay
    done = Trial(line, slow, suspected(Doubt(15.0), Why.MOVED, 0.0))
    assert done.dead is None


@pytest.mark.parametrize("sign_in", [good, elsewhere])
@pytest.mark.parametrize("tenths", range(1, 400, 7))
def test_a_stall_is_not_death_however_long(tenths: int, sign_in: SignIn) -> None:
    over = tenths / 10

    def after(began: float) -> tuple[float, SignedIn]:
        """The first packet is sent again after 1, 3 and 7 s; somebody patient asks ten."""
        for at in (0.0, 1.0, 3.0, 7.0):
            if began + at >= over:
                takes, answer = sign_in(began)
                return at + takes, answer._replace(is_clean=at == 0)
        return nobody(began)

    done = trial(lambda at: at < over, after, until=60.0)
    assert done.dead is None
    assert done.doubt.signing_in is None


def test_a_sign_in_waits_for_the_retransmission_that_it_can_tell_of() -> None:
    line = Line(always)
    done = Trial(line, nobody, Doubt(15.0), until=45.0)
    assert done.dead is None
    assert 2 <= len(done.began) <= SIGN_INS_MOST
    for began in done.began[1:]:
        assert min(at - began for at in line.resent if at > began) <= AHEAD
        assert began - done.began[0] >= PAUSE


def test_a_sign_in_that_lost_something_is_no_evidence() -> None:
    done = trial(always, lambda began: (0.35, SignedIn(True, is_clean=False, elsewhere=True)))
    assert done.dead is None
    assert len(done.began) >= 2


def test_one_that_lost_something_takes_the_evidence_of_those_before() -> None:
    ends = cycle([SignedIn(True, is_clean=True), SignedIn(True)])
    done = trial(always, lambda began: (0.35, next(ends)))
    assert done.dead is None
    assert len(done.began) == 4
    assert done.doubt.windows == ()


def test_a_sign_in_tells_nothing_of_what_was_sent_long_after_it() -> None:
    doubt = Doubt(15.0)
    line = Line(always)
    doubt, step = looked(doubt, line.seen(1.0), 1.0)
    assert step.sign_in
    doubt = signed_in(doubt, SignedIn(True, is_clean=True, elsewhere=True), 1.2)
    # Asleep, or busy, at all the moments at which it would have told.
    shifted = line.seen(2.5)._replace(due=27.0 - NEAR, timeout=27.0, retransmits=7, heard=200.0)
    late = 1.2 + 50.0
    _, step = looked(doubt, shifted._replace(due=27.0 - 5.0), late)
    assert step.dead is None


def test_what_is_heard_acquits() -> None:
    doubt, step = looked(Doubt(15.0), Line(always).seen(1.0), 1.0)
    assert step.sign_in
    assert not doubt.is_quiet
    heard = Line(always).seen(1.4)._replace(heard=0.05)
    doubt, step = looked(doubt, heard, 1.4)
    assert doubt.is_quiet
    assert doubt.signing_in is None
    assert signed_in(doubt, SignedIn(True, True, True), 1.5) == doubt


def test_after_a_reason_one_word_acquits_but_not_one_that_was_under_way() -> None:
    doubt, _ = looked(suspected(Doubt(15.0), Why.MOVED, 10.0), idle(5.0), 10.0)
    assert not doubt.is_quiet
    doubt, _ = looked(doubt, idle(0.7), 11.0)  # heard 0.3 s after the news
    assert not doubt.is_quiet
    doubt, _ = looked(doubt, idle(0.1)._replace(unacked=52), 11.0)
    assert doubt.is_quiet


def test_addresses_that_change_while_the_old_line_lives_tell_nothing() -> None:
    doubt, _ = looked(Doubt(15.0), Line(always).seen(1.0), 1.0)
    doubt = signed_in(doubt, SignedIn(True, is_clean=True, elsewhere=True), 1.3)
    doubt = acquitted(doubt, 1.4)
    assert not doubt.addresses_tell
    done = Trial(Line(always), elsewhere, doubt)
    assert done.dead is None or done.dead > 6


def test_false_alarms_make_the_next_sign_in_later_and_are_forgotten() -> None:
    doubt = Doubt(15.0)
    now = 0.0
    for expected in (2 * PAUSE, 4 * PAUSE, 8 * PAUSE):
        line = Line(always)
        doubt, step = looked(doubt, line.seen(1.0), now)
        assert step.sign_in
        doubt = acquitted(signed_in(doubt, SignedIn(True), now + 0.3), now + 0.4)
        _, step = looked(doubt, line.seen(1.0), now + expected - 0.1)
        assert not step.sign_in
        now += expected
    doubt = acquitted(doubt, now)
    now += FORGET + 1
    doubt, step = looked(doubt, Line(always).seen(1.0), now)
    doubt = acquitted(signed_in(doubt, SignedIn(True), now + 0.3), now + 0.4)
    assert doubt.alarms == 1


# --- when it is looked at ------------------------------------------------------------------------


def idle(data: float, sent: int = 1) -> Seen:
    return Seen(0, 0, 0.0, TIMEOUT, data, data, sent, 0, 0.0)


@pytest.mark.parametrize(
    ("interval", "data", "pause"),
    [
        (15, 1.0, 15.0),  # the last keepalive was answered a second ago
        (15, 0.0, 16.0),
        (3, 2.0, 2.0),
        (3, 3.9, CLOSE),
        (15, 17.0, CLOSE),  # ssh is late
        (15, 60.0, 15.0),  # it has other keepalives, or stands still
        (0, 1.0, 15.0),
    ],
)
def test_an_idle_line_is_looked_at_when_its_keepalive_is_answered(
    interval: float, data: float, pause: float
) -> None:
    _, step = looked(Doubt(interval), idle(data), 100.0)
    assert step.pause == pytest.approx(pause)
    assert step == Step(step.pause)


def test_a_line_with_traffic_is_looked_at_more_often() -> None:
    doubt, step = looked(Doubt(15.0), idle(1.0, sent=10), 100.0)
    assert step.pause > 10
    doubt, step = looked(doubt, idle(1.0, sent=12), 115.0)
    assert step.pause > 10, "a keepalive is no traffic"
    _, step = looked(doubt, idle(1.0, sent=30), 130.0)
    assert step.pause == 2.0


def test_without_the_kernel_the_old_line_is_given_longer_than_the_new_one_took() -> None:
    assert patience(Why.WOKE, 0.3) == 3.0
    assert patience(Why.WOKE, 8.0) == 16.0
    assert patience(Why.PROBE, 0.3) == 15.0


# --- packets lost by lot -------------------------------------------------------------------------


def lossy(random: Random, share: float, *, is_elsewhere: bool = False) -> SignIn:
    """Twelve exchanges; lost is what is sent, or both its acknowledgement and its answer."""

    def sign_in(began: float) -> tuple[float, SignedIn]:
        took, clean = 0.3, True
        for _ in range(12):
            gap = 0.2
            while True:
                sent, answer, told = (random.random() >= share for _ in range(3))
                if sent and answer:
                    break
                clean = clean and sent and told
                took, gap = took + gap, 2 * gap
        if took > 15:
            return 15.0, SignedIn(False)
        return took, SignedIn(True, is_clean=clean, elsewhere=is_elsewhere)

    return sign_in


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3, 0.5])
def test_loss_is_not_death(share: float) -> None:
    random = Random(f"loss {share}")  # noqa: S311
    doubt, suspicions = Doubt(15.0), 0
    for _ in range(400):
        line = Line(lambda _: random.random() < share or random.random() < share)
        done = Trial(line, lossy(random, share), doubt)
        assert done.dead is None
        suspicions += len(done.began)
        doubt = Doubt(15.0)  # the strictest case: no false alarm is remembered
    assert suspicions or share < 0.1


def test_carriers_addresses_are_learnt_before_they_do_harm() -> None:
    """Every connection from another address, and packets are lost: the worst there is."""
    random = Random("addresses")  # noqa: S311
    dead = 0
    for _ in range(20):
        doubt = Doubt(15.0)
        for _ in range(40):
            line = Line(lambda _: random.random() < 0.1 or random.random() < 0.1)
            done = Trial(line, lossy(random, 0.1, is_elsewhere=True), doubt)
            dead += done.dead is not None
            doubt = acquitted(done.doubt, 45.0)
    assert dead <= 1
