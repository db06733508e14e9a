"""`make test` loses no test on the way, and no count."""

from __future__ import annotations

import pytest

from scripts.test import counts
from tests.support.shares import share


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_test_is_in_one_share(count: int) -> None:
    names = [f"test-{number}" for number in range(20)]
    shares = [share(f"{one}/{count}", reversed(names)) for one in range(1, count + 1)]
    assert sorted(name for one in shares for name in one) == sorted(names)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("asked", ["0/2", "3/2", "1", "1/", "/2", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_share_is_refused(asked: str) -> None:
    with pytest.raises(ValueError, match="is not k/n"):
        share(asked, ["one"])


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ("..\n12 passed, 1 skipped in 3.45s", {"passed": 12, "skipped": 1}),
        (
            "== 1 failed, 2 passed, 2 errors in 65.30s (0:01:05) ==",
            {"failed": 1, "passed": 2, "error": 2},
        ),
        ("3 passed, 4 deselected, 1 warning in 0.10s", {"passed": 3, "warning": 1}),
        ("5 passed in 1.00s\n6 passed in 2.00s\n", {"passed": 6}),
        ("no tests ran in 0.01s", {}),
        ("INTERNALERROR> 5 passed", {}),
    ],
)
def test_counts_are_those_of_the_last_line(said: str, counted: dict[str, int]) -> None:
    assert counts(said) == counted
