"""The examples of the pages on runs."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
RUN_FORMAT = (DOCS / "guide" / "run-format.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", RUN_FORMAT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_run_format(small, monkeypatch, capsys, example):
    small.score("runs/lite0")
    monkeypatch.chdir(small.path)
    exec(example, {})
    assert capsys.readouterr().out


def test_every_link_leads_somewhere():
    pages = [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_of_the_guide_is_one(capsys):
    """Options that the guide names are known to the command line."""
    from clever_ext.cli import main

    text = (DOCS / "guide" / "evaluating.md").read_text()
    for command in ("score", "merge", "status", "report", "compare"):
        assert command in text
        with pytest.raises(SystemExit):
            main([command, "--help"])
    known = capsys.readouterr().out
    ours = re.findall(r"clever-ext score (.*?)(?:\n\n|```|#)", text, re.DOTALL)
    for option in re.findall(r"--[a-z-]+", " ".join(ours)):
        assert option in known, option
