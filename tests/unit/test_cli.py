"""The command line: what each word means, whatever its order; and errors that are one line."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from sshwrap import __version__, cli
from sshwrap.cli import NOT_YET, VERBS, build_parser, parse, split_run
from sshwrap.commands import _WHERE
from sshwrap.errors import ExitStatus, UserError

NAMES = [verb for verb, _, _ in VERBS]


def parsed(line: str, *keys: str) -> Any:
    options = parse(line.split())
    found = tuple(getattr(options, key) for key in keys)
    return found[0] if len(found) == 1 else found


def refused(*words: str) -> UserError:
    with pytest.raises(UserError) as caught:
        parse(words)
    return caught.value


class TestVerbs:
    def test_each_has_its_function(self) -> None:
        assert list(_WHERE) == NAMES

    @pytest.mark.parametrize("line", ["", "-q", "--profiles p", "--config=p -v --no-input"])
    def test_none_is_status(self, line: str) -> None:
        assert parsed(line, "verb", "names", "json", "watch") == ("status", [], False, False)

    @pytest.mark.parametrize(
        ("word", "advice"),
        [
            ("upp", 'did you mean "up"?'),
            ("statsu", 'did you mean "status"?'),
            ("web", "sshwrap --help"),
        ],
    )
    def test_an_unknown_one(self, word: str, advice: str) -> None:
        error = refused(word)
        assert error.status is ExitStatus.USAGE
        assert error.message == f'no command "{word}"'
        assert error.advice == advice

    @pytest.mark.parametrize("verb", NOT_YET)
    def test_one_that_is_not_there_yet(self, verb: str) -> None:
        for words in ([verb], ["-q", verb, "web"], ["--profiles", "p", verb]):
            error = refused(*words)
            assert error.status is ExitStatus.USAGE
            assert error.message == f'"{verb}" is not in sshwrap {__version__} yet'

    def test_a_file_may_be_named_like_one(self) -> None:
        assert parsed("--profiles up", "verb", "profiles") == ("status", "up")
        assert parsed("--profiles up down", "verb", "profiles") == ("down", "up")
        assert parsed("--profiles run up", "verb", "profiles") == ("up", "run")
        assert parsed("--profiles key up", "verb", "profiles") == ("up", "key")
        assert parsed("up down", "verb", "names") == ("up", ["down"])
        assert parsed("up run web", "verb", "names", "command") == ("up", ["run", "web"], [])


class TestCommonOptions:
    @pytest.mark.parametrize("verb", NAMES)
    @pytest.mark.parametrize(
        "given", ["--profiles p -q -v --no-input", "--config p --quiet --verbose --no-input"]
    )
    def test_before_and_behind_the_verb(self, verb: str, given: str) -> None:
        keys = ("verb", "profiles", "quiet", "verbose", "no_input")
        rest = {"run": "ssh h", "show": "web"}.get(verb, "")
        expected = (verb, "p", True, True, True)
        assert parsed(f"{given} {verb} {rest}", *keys) == expected
        assert parsed(f"{verb} {given} {rest}", *keys) == expected

    def test_absent_they_are_off(self) -> None:
        assert parsed("up", "profiles", "quiet", "verbose", "no_input") == (
            None,
            False,
            False,
            False,
        )

    def test_no_option_may_be_abbreviated(self) -> None:
        assert "--prof" in refused("up", "--prof", "p").message
        assert "--det" in refused("up", "--det").message

    @pytest.mark.parametrize("words", [["--profiles"], ["up", "--profiles"], ["run", "--profiles"]])
    def test_profiles_without_a_file(self, words: list[str]) -> None:
        assert "expected one argument" in refused(*words).message


class TestRun:
    @pytest.mark.parametrize(
        ("line", "own", "command"),
        [
            ("run ssh -R 1:h:2 vps", "run", "ssh -R 1:h:2 vps"),
            ("run -R 1:h:2 vps", "run", "-R 1:h:2 vps"),
            ("run -- ssh -d vps", "run", "ssh -d vps"),
            ("run -d ssh -d vps", "run -d", "ssh -d vps"),
            ("run -d --name x -- -N vps", "run -d --name x", "-N vps"),
            ("run --name=x --timeout 3 autossh -M 0", "run --name=x --timeout 3", "autossh -M 0"),
            ("-q run -v --profiles p ssh -v", "-q run -v --profiles p", "ssh -v"),
            ("--profiles run run ssh vps", "--profiles run run", "ssh vps"),
            ("run", "run", ""),
            ("run --", "run", ""),
            ("run -f vps", "run", "-f vps"),
            ("up run ssh", "up run ssh", ""),
            ("status --json", "status --json", ""),
        ],
    )
    def test_what_is_ours_and_what_is_ssh_s(self, line: str, own: str, command: str) -> None:
        assert split_run(line.split()) == (own.split(), command.split())

    def test_its_options(self) -> None:
        keys = ("verb", "detach", "name", "timeout", "command")
        assert parsed("run -d --name x --timeout 2.5 ssh -f vps", *keys) == (
            "run",
            True,
            "x",
            2.5,
            ["ssh", "-f", "vps"],
        )

    def test_words_stay_as_they_are(self) -> None:
        words = ["ssh", "-o", "ProxyCommand=nc %h %p", "", "a b", "--", "-x"]
        assert parse(["run", *words]).command == words


class TestValues:
    def test_timeout(self) -> None:
        assert parsed("up", "timeout") == 30.0
        assert parsed("up -d --timeout 0", "timeout") == 0.0
        for text in ("x", "-1", "nan", "inf", "1e9", ""):
            assert (
                f'"{text}" is not a number of seconds' in refused("up", "--timeout", text).message
            )

    def test_lines(self) -> None:
        assert parsed("logs -n 0", "lines") == 0
        assert parsed("logs web --lines 20 -f", "names", "lines", "follow") == (["web"], 20, True)
        for text in ("x", "1.5", ""):
            assert f'"{text}" is not a number of lines' in refused("logs", "-n", text).message

    def test_show_takes_one_name(self) -> None:
        assert parsed("show web --json", "name", "json") == ("web", True)
        assert "NAME" in refused("show").message
        assert "two" in refused("show", "one", "two").message


class TestHelp:
    def test_every_verb_has_an_example_that_it_would_take(self) -> None:
        for verb, summary, example in VERBS:
            assert summary[0].islower()
            assert not summary.endswith(".")
            assert parse(example.split()).verb == verb

    def test_of_the_top_lists_the_exit_statuses(self) -> None:
        text = build_parser().format_help()
        for status in ExitStatus:
            assert f"{int(status)} " in text
        for verb, summary, _ in VERBS:
            assert verb in text
            assert summary.split(";")[0].split("(")[0].strip()[:20] in text

    @pytest.mark.parametrize("words", [["--help"], ["-h"], *([verb, "--help"] for verb in NAMES)])
    def test_is_printed_and_that_is_all(
        self, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            parse(words)
        out, err = capsys.readouterr()
        assert (ended.value.code, err) == (0, "")
        assert "example:\n  sshwrap " in out

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        for word in ("-V", "--version"):
            with pytest.raises(SystemExit):
                parse([word])
            assert capsys.readouterr().out == f"sshwrap {__version__}\n"


class TestTheErrorBoundary:
    def run(
        self, monkeypatch: pytest.MonkeyPatch, error: BaseException, capsys: Any
    ) -> tuple[int, str]:
        def fail(options: argparse.Namespace) -> int:
            raise error

        monkeypatch.setattr(cli, "_run", fail)
        status = cli.main([])
        return status, capsys.readouterr().err

    @pytest.mark.parametrize("status", ExitStatus)
    def test_a_user_error_is_its_lines_and_its_status(
        self, monkeypatch: pytest.MonkeyPatch, capsys: Any, status: ExitStatus
    ) -> None:
        error = UserError("web: one\nweb: two", said="its words", advice="do this", status=status)
        assert self.run(monkeypatch, error, capsys) == (
            status,
            "sshwrap: web: one\nsshwrap: web: two\n  said: its words\n  try: do this\n",
        )

    def test_ctrl_c_is_130(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        assert self.run(monkeypatch, KeyboardInterrupt(), capsys) == (130, "")

    def test_a_bug_keeps_its_traceback(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            self.run(monkeypatch, ZeroDivisionError(), capsys)

    @pytest.mark.parametrize(
        ("words", "status"),
        [
            (["status", "--jason"], 1),
            (["-q", "status", "--jason"], 1),
            (["up", "--jason"], 2),
            (["statsu"], 2),
        ],
    )
    def test_status_knows_no_third_answer(self, words: list[str], status: int) -> None:
        assert cli.main(words) == status
