"""Names and patterns of a command line -> profiles, with a "did you mean"."""

from __future__ import annotations

from sshwrap.errors import ExitStatus, UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def choose(wanted: Sequence[str], known: Iterable[str], *, what: str = "profile") -> list[str]:
    """The known names that the words stand for, in the order of the words; raises UserError (2)."""
    names = list(known)
    chosen: dict[str, None] = {}
    for word in wanted:
        found = [word] if word in names else _matching(word, names)
        if not found:
            raise UserError(
                f'no {what} "{word}"', advice=_advice(word, names), status=ExitStatus.USAGE
            )
        chosen.update(dict.fromkeys(found))
    return list(chosen)


def _matching(word: str, names: list[str]) -> list[str]:
    if not any(sign in word for sign in "*?["):
        return []
    from fnmatch import fnmatchcase

    return [name for name in names if fnmatchcase(name, word)]


def _advice(word: str, names: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, names, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    if not names:
        return "sshwrap run ssh -R …    (put two words before the command you have)"
    return "there are: " + ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
