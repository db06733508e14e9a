"""docs/doctor.md has a heading for each check, and the table that the checks make."""

from __future__ import annotations

import re

from scripts import doctor_docs
from sshwrap.doctor.checks import CHECKS, run_checks
from sshwrap.doctor.checks_gateway import DOC
from tests.support.sources import ROOT
from tests.unit.doctor.samples import PUBLIC, asked, sound

PAGE = doctor_docs.PAGE.read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    assert doctor_docs.page(PAGE) == PAGE, "run make docs"


def test_every_check_has_its_heading_in_the_order_of_the_list() -> None:
    headings = re.findall(r"^## (.+)$", PAGE, re.M)
    before = ["Putting it right", "A text to paste", "The checks"]
    assert headings == [*before, *(check.id for check in CHECKS)]


def test_no_heading_is_left_empty() -> None:
    sections = re.split(r"^## .+$", PAGE, flags=re.M)
    assert [text for text in sections if len(text.strip()) < 40] == []


def test_the_anchor_that_advice_names_is_there() -> None:
    file, _, anchor = DOC.partition("#")
    assert f"## {anchor}\n" in (ROOT / file).read_text(encoding="utf-8")
    advice = [one.advice for one in run_checks(sound(PUBLIC), asked(PUBLIC))]
    assert any(DOC in text for text in advice)
