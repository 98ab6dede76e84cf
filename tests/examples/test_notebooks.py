"""The notebooks of examples/ run from top to bottom, and are small enough to be looked at."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
notebooks = pytest.importorskip("notebooks")

FOLDER = Path(__file__).parents[2] / "examples"
#: What a notebook imports besides what the demo needs.
NEEDS = {
    "five_minutes": ("efficientnet_lite_pytorch", "foolbox"),
    "your_timm_model": ("timm", "torchvision", "foolbox"),
    "before_and_after_a_defence": ("advertorch_examples", "foolbox"),
}


def test_all_notebooks_are_named_here():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_a_notebook_runs(name):
    missing = [each for each in NEEDS[name] if importlib.util.find_spec(each) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    notebook = notebooks.execute(nbformat.read(FOLDER / f"{name}.ipynb", as_version=4))
    streams = [o for cell in notebook.cells for o in cell.get("outputs", ()) if "name" in o]
    assert [each.text for each in streams if each.name == "stderr"] == []


@pytest.mark.parametrize("name", NEEDS)
def test_a_notebook_is_kept_with_what_it_puts_out(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < 200_000
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
