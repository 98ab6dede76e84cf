"""The form of docs/studies: question and answer first, all in the index, all results told of."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "docs" / "studies"
INDEX = (STUDIES / "index.md").read_text()
PAGES = sorted(path for path in STUDIES.glob("*.md") if path.name != "index.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_question_and_answer_come_first(page):
    begin = re.match(
        r"# .+\n\n\*\*Question\.\*\* .+\n(.+\n)?\n\*\*Answer\.\*\* (.+\n){1,3}\n## Method\n",
        page.read_text(),
    )
    assert begin, f"{page.name} does not begin with title, question, three lines of answer, method"
    assert "\n## What is not known\n" in page.read_text()
    assert f"]({page.name})" in INDEX


def test_every_result_is_told_of():
    told = "".join(path.read_text() for path in PAGES)
    for result in (ROOT / "benchmarks" / "results").iterdir():
        assert result.name in told, f"no study tells of {result.name}"
