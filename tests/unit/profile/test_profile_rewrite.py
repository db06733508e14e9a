"""One forward written anew, and nothing else touched."""

from __future__ import annotations

import pytest

from sshwrap.profile.rewrite import rewrite_forward

OLD, NEW = "12345:localhost:8080", "*:12345:localhost:8080"


@pytest.mark.parametrize(
    "value",
    [
        f'"{OLD}"',
        f"'{OLD}'  # a comment with \"{OLD}\" in it",
        f'[ "{OLD}" ]',
        f'[\n  # "{OLD}"\n  \'{OLD}\', # first\n  "1:a:1",\n]',
    ],
)
def test_the_spec_alone_changes(value: str) -> None:
    text = f'# mine\n[defaults]\n[profile.other]\nremote_forward = "{OLD}"\n\n[profile."we.b"]\r\n'
    text += f'destination="x"\nremote_forward = {value}\nport = 22 # {OLD}\n'
    found = rewrite_forward(text, "we.b", 0, OLD, NEW)
    assert found is not None
    assert found.count(f'"{NEW}"') == 1
    assert f'[profile.other]\nremote_forward = "{OLD}"\n' in found
    place = found.index(f'"{NEW}"')
    assert found[:place] == text[:place]
    assert text.endswith(found[place + len(NEW) + 2 :])


def test_the_right_one_of_several() -> None:
    text = f'[profile.web]\nremote_forward = ["{OLD}", "1:a:1", "{OLD}"]\n'
    assert rewrite_forward(text, "web", 2, OLD, NEW) == text[: -len(OLD) - 4] + f'"{NEW}"]\n'


@pytest.mark.parametrize(
    "text",
    [
        f'[profile.web]\nremote_forward = "{OLD}" x',
        '[profile.web]\nremote_forward = "${PORT}:localhost:8080"\n',
        '[profile.web]\nremote_forward = "12345:localhost\\u003a8080"\n',
        f'[defaults]\nremote_forward = "{OLD}"\n[profile.web]\ndestination = "x"\n',
        f'[profile.other]\nremote_forward = "{OLD}"\n',
        "[profile.web]\nremote_forward = []\n",
        "profile = 1\n",
    ],
)
def test_what_is_written_otherwise_is_left_alone(text: str) -> None:
    assert rewrite_forward(text, "web", 0, OLD, NEW) is None
