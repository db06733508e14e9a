"""Which tests are whose, where several runs share them: each is in one share, and in one only."""

from __future__ import annotations

from collections.abc import Iterable


def share(asked: str, names: Iterable[str]) -> set[str]:
    """Every n-th of the names, beginning with the k-th, for "k/n"; ValueError for anything else.

    By the alphabet: two runs may have collected them in another order.
    """
    first, slash, count = asked.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise ValueError(f'share "{asked}" is not k/n')
    return set(sorted(names)[int(first) - 1 :: int(count)])
