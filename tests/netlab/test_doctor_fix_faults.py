"""What may go wrong while sshd_config is changed: the server ends as it was, with its sshd."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable

import pytest

from sshwrap.doctor.apply import Outcome, Result
from sshwrap.doctor.facts import Reloader
from sshwrap.doctor.fix_script import decide_script, install_script, read_answer
from tests.netlab.fixing import (
    BLOCK,
    DROPIN,
    HOME,
    MAIN,
    Fix,
    effective,
    is_over,
    line,
    listens_at,
    main_text,
    sshd_files,
    start_with,
    states,
)
from tests.netlab.lab import Lab
from tests.support.waiting import wait_for

LOOPBACK = {"127.0.0.1", "::1"}
EVERYWHERE = {"0.0.0.0", "::"}


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Whose server has Debian's defaults."""
    lab = make_lab()
    lab.server.start_sshd()
    return lab


def ends_as_before(lab: Lab, files: dict[str, str]) -> None:
    """Nothing pending, every file as it was, sshd there and as it was."""
    wait_for(lambda: is_over(lab), what=lambda: f"it is over: {states(lab)}")
    wait_for(lambda: lab.server.listeners(22), what="sshd listens")
    assert sshd_files(lab) == files
    assert listens_at(lab) == LOOPBACK


def in_script(old: str, new: str) -> Callable[[bytes], bytes]:
    """A script in which something else happens; it has to be there."""

    def edit(script: bytes) -> bytes:
        assert old.encode() in script or b"installing" not in script
        return script.replace(old.encode(), new.encode())

    return edit


# --- no sign-in, no line ------------------------------------------------------------------------


def test_what_no_sign_in_proves_is_taken_back_at_once(lab: Lab) -> None:
    files = sshd_files(lab)
    with line(lab) as root:
        outcome = Fix(lab).apply(root, prove=lambda: "Permission denied (publickey).")
        assert (outcome.result, outcome.why) == (Result.UNDONE, "unproved")
        assert outcome.said == "Permission denied (publickey)."
        ends_as_before(lab, files)
        assert states(lab) == ["undone"]


def test_a_client_that_ends_before_the_proof(lab: Lab) -> None:
    files = sshd_files(lab)
    with line(lab) as root:
        nonce = secrets.token_hex(8)
        ran = root.run("sh -s", install_script(Fix(lab, seconds=3).order(), nonce), 30)
        assert read_answer(nonce, ran.out).steps[-1] == "reloaded"
        assert DROPIN.rpartition("/")[2] in str(sshd_files(lab))
    ends_as_before(lab, files)
    assert states(lab) == ["undone"]


def test_a_line_that_dies_before_the_proof(lab: Lab) -> None:
    files = sshd_files(lab)

    def prove() -> str:
        lab.faults.silence()
        root.master.stop()
        return "no answer"

    with line(lab) as root:
        outcome = Fix(lab, seconds=4).apply(root, prove)
        assert (outcome.result, outcome.why) == (Result.UNSURE, "unproved")
    wait_for(lambda: is_over(lab), what="the server has taken it back")
    lab.faults.speak()
    ends_as_before(lab, files)


def test_a_proof_that_comes_too_late(lab: Lab) -> None:
    files = sshd_files(lab)

    def prove() -> None:
        wait_for(lambda: states(lab) == ["undone"], what="its time is over")

    with line(lab) as root:
        outcome = Fix(lab, seconds=2).apply(root, prove)
        assert (outcome.result, outcome.why) == (Result.UNDONE, "late")
    ends_as_before(lab, files)


@pytest.mark.parametrize("step", ["baseline", "candidate", "armed", "installed", "reloaded"])
def test_the_server_s_side_is_killed_after_any_step(lab: Lab, step: str) -> None:
    files = sshd_files(lab)
    with line(lab) as root:
        root.edit = in_script(f"    step {step}\n", f"    step {step}\n    kill -KILL $$\n")
        nonce = secrets.token_hex(8)
        ran = root.run("sh -s", install_script(Fix(lab, seconds=2).order(), nonce), 30)
        answer = read_answer(nonce, ran.out)
        assert not answer.is_whole
        assert answer.steps[-1] == step
    wait_for(lambda: "pending" not in states(lab) and "undoing" not in states(lab))
    candidate = "sshd_config.d/.00-sshwrap.conf.sshwrap-new"  # no pattern finds it
    left = {name: text for name, text in sshd_files(lab).items() if name != candidate}
    assert left == files
    assert listens_at(lab) == LOOPBACK
    # And it is in nobody's way: a lock whose owner is dead is none.
    with line(lab) as root:
        assert Fix(lab).apply(root).result is Result.APPLIED
    assert listens_at(lab) == EVERYWHERE
    assert candidate not in sshd_files(lab)


def test_a_cut_after_the_change_is_answered_by_taking_it_back(lab: Lab) -> None:
    files = sshd_files(lab)
    with line(lab) as root:
        root.edit = in_script("    step reloaded\n", "    step reloaded\n    kill -KILL $$\n")
        outcome = Fix(lab).apply(root)
        assert (outcome.result, outcome.why) == (Result.UNDONE, "cut")
    ends_as_before(lab, files)


def test_a_line_that_is_cut_while_the_server_is_at_work(lab: Lab) -> None:
    """It goes on, with nobody to hear it, and then takes back what nobody proves."""
    files = sshd_files(lab)
    lab.server.put("/run/hold", "")
    hold = "    step armed\n    while [ -e /run/hold ]; do pause; done\n"
    script = install_script(Fix(lab, seconds=8).order(), secrets.token_hex(8))
    with line(lab) as root, root.start("sh -s") as child:
        assert child.stdin is not None
        child.stdin.write(in_script("    step armed\n", hold)(script))
        child.stdin.close()
        wait_for(lambda: states(lab) == ["pending", "lock"], what="it is about to install")
        root.master.stop()
        child.wait(timeout=20)
    wait_for(lambda: not lab.server.sessions("root"), what="sshd has ended the session")
    (lab.server.root / "run/hold").unlink()
    wait_for((lab.server.root / DROPIN[1:]).exists, what="the script goes on")
    ends_as_before(lab, files)
    assert states(lab) == ["undone"]


def test_half_a_script_does_nothing(lab: Lab) -> None:
    files = sshd_files(lab)
    with line(lab) as root:
        script = install_script(Fix(lab).order(), secrets.token_hex(8))
        for share in (0.3, 0.6, 0.9, 0.999):
            root.run("sh -s", script[: int(len(script) * share)], 30)
            assert sshd_files(lab) == files
            assert states(lab) == []


def test_the_power_fails_before_the_proof(lab: Lab) -> None:
    files = sshd_files(lab)
    with line(lab) as root:
        root.run("sh -s", install_script(Fix(lab).order(), secrets.token_hex(8)), 30)
    assert states(lab) == ["pending"]
    lab.faults.server_reboot()
    assert effective(lab, "GatewayPorts") == "clientspecified"
    with line(lab) as root:
        fix = Fix(lab, after=f"{BLOCK}# more\n")
        assert fix.apply(root).why == "unfinished"
        ends_as_before(lab, files)
        assert fix.apply(root).result is Result.APPLIED


# --- sshd ----------------------------------------------------------------------------------------


def test_an_sshd_that_dies_when_it_is_reloaded_is_started(lab: Lab) -> None:
    files = sshd_files(lab)
    with line(lab) as root:
        root.edit = in_script("kill -HUP", "kill -KILL")
        outcome = Fix(lab).apply(root)
        assert (outcome.result, outcome.why) == (Result.UNDONE, "reload"), outcome
    ends_as_before(lab, files)


def test_the_timer_starts_an_sshd_that_died_meanwhile(lab: Lab) -> None:
    files = sshd_files(lab)
    with line(lab) as root:
        root.run("sh -s", install_script(Fix(lab, seconds=3).order(), secrets.token_hex(8)), 30)
        os.kill(lab.server.sshd_pid, signal.SIGKILL)
    ends_as_before(lab, files)


def test_no_folder_for_sshd_to_be_in(lab: Lab) -> None:
    with line(lab) as root:
        lab.server.run("rmdir", "/run/sshd")  # as on a server whose sshd a socket starts
        assert Fix(lab).apply(root).result is Result.APPLIED
    assert (lab.server.root / "run/sshd").stat().st_mode & 0o777 == 0o755


# --- what stops it before anything is changed ---------------------------------------------------


def untouched(lab: Lab, outcome: Outcome, why: str) -> None:
    assert (outcome.result, outcome.why) == (Result.UNTOUCHED, why), outcome
    assert is_over(lab)
    assert not [name for name in sshd_files(lab) if "sshwrap" in name]


def test_a_configuration_that_is_broken_already(lab: Lab) -> None:
    (lab.server.root / MAIN[1:]).write_text(f"{main_text(lab)}GatewayPort yes\n")
    with line(lab) as root:
        outcome = Fix(lab).apply(root)
        untouched(lab, outcome, "broken")
        assert "Bad configuration option: GatewayPort" in outcome.said
    assert listens_at(lab) == LOOPBACK


def test_a_candidate_that_sshd_refuses(lab: Lab) -> None:
    with line(lab) as root:
        outcome = Fix(lab, after="GatewayPorts maybe\n").apply(root)
        untouched(lab, outcome, "invalid")
        assert "line 1" in outcome.said


def test_a_change_of_more_than_is_wanted(lab: Lab) -> None:
    with line(lab) as root:
        outcome = Fix(lab, after=f"{BLOCK}    X11Forwarding no\n").apply(root)
        untouched(lab, outcome, "more")
        assert "x11forwarding" in outcome.said.lower()


def test_a_match_block_that_comes_first(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    start_with(lab, {"sshd_config.d/00-a.conf": "Match User tunnel\nGatewayPorts no\n"})
    with line(lab) as root:
        outcome = Fix(lab).apply(root)
        # It sorts before ours, which only the whole tree shows; sshd never heard of ours.
        assert "SIGHUP" not in lab.server.log()
        assert (outcome.result, outcome.why) == (Result.UNTOUCHED, "overridden"), outcome
        assert outcome.said.lower() == "gatewayports no"
    assert not (lab.server.root / DROPIN[1:]).exists()
    assert states(lab) == ["undone"]
    assert listens_at(lab) == LOOPBACK


def test_sshd_s_command_line_beats_the_files(lab: Lab) -> None:
    with line(lab) as root:
        arguments = ("-o", "GatewayPorts=no")
        text = "GatewayPorts clientspecified\n"
        outcome = Fix(lab, after=text, arguments=arguments, everybody=True).apply(root)
        untouched(lab, outcome, "overridden")


def test_a_file_that_was_changed_since_it_was_read(lab: Lab) -> None:
    with line(lab) as root:
        order = Fix(lab).order()
        lab.server.put(DROPIN, "# mine\n")
        nonce = secrets.token_hex(8)
        answer = read_answer(nonce, root.run("sh -s", install_script(order, nonce), 30).out)
        assert answer.why == "changed"
    assert (lab.server.root / DROPIN[1:]).read_text() == "# mine\n"


@pytest.mark.parametrize("folder", ["/etc/ssh/sshd_config.d", "/var/lib"])
def test_a_place_that_is_read_only(lab: Lab, folder: str) -> None:
    lab.server.run(
        "sh", "-ec", f"mount --bind {folder} {folder}; mount -o remount,ro,bind {folder}"
    )
    with line(lab) as root:
        outcome = Fix(lab).apply(root)
        untouched(lab, outcome, "unwritable")
        assert "ead-only" in outcome.said


def test_a_file_that_is_immutable(lab: Lab) -> None:
    # Few file systems of a lab know the flag: what shows it is stood for.
    lab.server.put("/usr/local/bin/lsattr", '#!/bin/sh\necho "----i----- $2"\n', mode=0o755)
    with line(lab) as root:
        untouched(lab, Fix(lab).apply(root), "immutable")


def test_the_listener_is_not_to_be_found(lab: Lab) -> None:
    files = sshd_files(lab)
    with line(lab) as root:
        root.edit = in_script('"/proc/$one/exe"', '"/proc/$one/cwd"')
        outcome = Fix(lab).apply(root)
        assert (outcome.result, outcome.why) == (Result.UNDONE, "reload")
    ends_as_before(lab, files)


# --- two at once ---------------------------------------------------------------------------------


def test_another_doctor_s_change_waits_for_its_proof(lab: Lab) -> None:
    with line(lab) as root, line(lab) as other:
        outcomes = []

        def prove() -> None:
            outcomes.append(Fix(lab, after=f"{BLOCK}# other\n").apply(other))

        assert Fix(lab).apply(root, prove).result is Result.APPLIED
        assert (outcomes[0].result, outcomes[0].why) == (Result.UNTOUCHED, "waiting")
        assert (lab.server.root / DROPIN[1:]).read_text() == BLOCK


def test_the_lock_is_another_s(lab: Lab) -> None:
    with line(lab) as root:
        holder = "boot=$(cat /proc/sys/kernel/random/boot_id); read -r stat </proc/1/stat\n"
        holder += f"set -- ${{stat##*) }}; mkdir -p {HOME}/lock\n"
        root.run("sh -s", f'{holder} echo "$boot 1 ${{20}}" >{HOME}/lock/owner'.encode(), 20)
        outcome = Fix(lab).apply(root)
        assert (outcome.result, outcome.why) == (Result.UNTOUCHED, "busy")
        assert "lock" in states(lab)


def test_who_has_edited_the_file_since_keeps_it(lab: Lab) -> None:
    with line(lab) as root:
        outcome = Fix(lab).apply(root)
        lab.server.put(DROPIN, f"{BLOCK}# mine\n")
        nonce = secrets.token_hex(8)
        ran = root.run("sh -s", decide_script(outcome.change, "now", nonce), 30)
        answer = read_answer(nonce, ran.out)
        assert (answer.undone, answer.why) == (False, "edited")
        assert (lab.server.root / DROPIN[1:]).read_text() == f"{BLOCK}# mine\n"
        assert states(lab) == ["left"]


def test_one_sshd_for_each_connection_needs_no_reload(lab: Lab) -> None:
    with line(lab) as root:
        pid = lab.server.sshd_pid
        root.edit = in_script("kill -HUP", "kill -KILL")  # would be seen
        outcome = Fix(lab, reloader=Reloader.NONE).apply(root)
        assert outcome.result is Result.APPLIED
        assert lab.server.sshd_pid == pid
        assert effective(lab, "GatewayPorts") == "clientspecified"
