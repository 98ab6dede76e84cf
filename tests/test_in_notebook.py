"""What a notebook shows: bars and figures, each once, in the outputs of its cells."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
notebooks = pytest.importorskip("notebooks")

SCORE = """
import clever_ext as cx, torch
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4)).eval()
result = cx.clever_score(model, torch.rand(4, 64), n_batches=200, batch_samples=64, progress=True)
"""
RUN = """
import tempfile
with tempfile.TemporaryDirectory() as folder:
    cx.score_run(model, torch.rand(4, 64), folder)
"""
AXES = "ax = cx.plot.curve(result)\nax"
FIGURE = "ax.figure"
SHEET = "cx.plot.contact_sheet(result, 2, lambda row: torch.zeros(2, 2, 3).numpy(), lambda row: '')"
PYPLOT = "import matplotlib.pyplot as plt\nax"
OWN = "cx.plot.curve(result, ax=plt.gca());"


@pytest.fixture(scope="module")
def outputs():
    """The outputs of each cell, by its code."""
    cells = [SCORE, RUN, AXES, FIGURE, SHEET, PYPLOT, OWN]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    return {cell.source: cell.outputs for cell in notebooks.execute(notebook).cells}


def test_a_bar_is_one_line_that_ends_full(outputs):
    """Without widgets, which a saved notebook would not show."""
    (bar,) = outputs[SCORE]
    (line,) = bar.data["text/plain"].splitlines()
    done, total = line.split()[2].split("/")
    assert done == total
    assert "gradients/s" in line
    assert "\x1b" not in line


def test_so_is_that_of_a_run(outputs):
    (line,) = [each.data["text/plain"] for each in outputs[RUN] if "data" in each]
    assert "4 of 4 pictures (100.000%)" in line
    said = "".join(each.text for each in outputs[RUN] if "text" in each)
    assert "4 pictures, 12 rows" in said
    assert "of 4 pictures (" not in said


@pytest.mark.parametrize("cell", [AXES, FIGURE, SHEET, PYPLOT, OWN])
def test_a_figure_is_shown_once(outputs, cell):
    """By a kernel that knows nothing of matplotlib, and by one with its inline backend."""
    pictures = [each.data["image/png"] for each in outputs[cell] if "image/png" in each.data]
    assert len(pictures) == 1
    assert base64.b64decode(pictures[0]).startswith(b"\x89PNG")


def test_a_script_imports_no_pyplot():
    code = (
        "import clever_ext as cx, sys, torch;"
        "model, images = torch.nn.Linear(4, 3).eval(), torch.rand(2, 4);"
        "cx.plot.curve(cx.clever_score(model, images, n_batches=4, batch_samples=4));"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
