"""README and the guide: code runs, commands parse, pages are short; links lead somewhere."""

import argparse
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from small_run import SmallRun

from clever_ext.cli import _parser

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
GUIDE = sorted((DOCS / "guide").glob("*.md"))
SHOWN = [README, *GUIDE]
#: Words, as `wc -w` counts them.
LIMITS = {README: 700} | dict.fromkeys(GUIDE, 900)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language; those marked `notest` are of another."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def by_name(page: Path) -> str:
    return page.stem


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The runs and pictures that the pages name, of a network that costs nothing."""
    small = SmallRun(tmp_path_factory.mktemp("guide"))
    for number, out in enumerate(("runs/lite0", "runs/lite1", "runs/before", "runs/after")):
        small.score(out, seed=number)
    photos = small.path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0)
    for number in range(4):
        pixels = noise.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"photo_{number}.jpg")
    return small


@pytest.mark.parametrize("page", [page for page in SHOWN if blocks(page, "python")], ids=by_name)
def test_code_runs(folder, monkeypatch, capsys, page):
    """In the order of the page, with a small network in the place of the one that is loaded."""
    monkeypatch.chdir(folder.path)
    monkeypatch.setattr("clever_ext.models.loading.load_model", lambda _: folder.model)
    layers = torch.nn.Linear(192, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5)
    model = torch.nn.Sequential(torch.nn.Flatten(), *layers).eval()
    names = {"model": model, "images": torch.rand(2, 3, 8, 8), "labels": torch.arange(2)}
    for block in blocks(page, "python"):
        capsys.readouterr()
        exec(compile(block, str(page), "exec"), names)
        assert page.name != "run-format.md" or capsys.readouterr().out


def commands(page: Path) -> list[list[str]]:
    """The words after `clever-ext` of each command line in a page's shell blocks."""
    found = []
    for line in "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for start in (["clever-ext"], ["-m", "clever_ext"]):
            places = [n for n in range(len(words)) if words[n : n + len(start)] == start]
            found += [words[n + len(start) :] for n in places]
    return found


COMMANDS = [(page, words) for page in SHOWN for words in commands(page)]


def test_pages_have_commands():
    assert {page for page, _ in COMMANDS} > {README, DOCS / "guide" / "evaluating.md"}
    assert {words[0] for _, words in COMMANDS} == set(_commands())


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=lambda each: getattr(each, "stem", None))
def test_commands_parse(page, words):
    if "--config" in words:  # the page shows the file
        shown = re.findall(r"```yaml\n# run.yaml\n(.*?)```", page.read_text(), re.DOTALL)
        options = yaml.safe_load(shown[0])
        words = [*words, *(word for k, v in options.items() for word in (f"--{k}", str(v)))]
    assert callable(_parser().parse_args(words).run), page


def _commands() -> dict[str, argparse.ArgumentParser]:
    actions = _parser()._actions
    [commands] = [each for each in actions if isinstance(each, argparse._SubParsersAction)]
    return commands.choices


@pytest.mark.parametrize("page", LIMITS, ids=by_name)
def test_pages_are_short(page):
    assert len(page.read_text().split()) <= LIMITS[page]


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
