"""Run the notebooks of examples/ from top to bottom, and keep what their cells put out.

    python tools/notebooks.py                # all of them
    python tools/notebooks.py five_minutes   # one

The tests run them too, and compare nothing: outputs are those of one machine and one day.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"

#: What a kernel does first: peers imports a torchvision of another build than the torch here.
_STARTUP = """
def _first():
    import sys, warnings
    from unittest import SkipTest
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm asks for widgets
    sys.path.insert(0, {benchmarks!r})
    try:
        from peers import peer
        peer("torchvision")
    except SkipTest:
        pass
    finally:
        del sys.path[0]
_first()
del _first
"""


def execute(notebook: nbformat.NotebookNode, seconds: int = 600) -> nbformat.NotebookNode:
    """Run all cells of a notebook, in a folder of their own and a kernel of this Python.

    Args:
        notebook: What its cells put out is written into it.
        seconds: That a cell may take.

    Returns:
        The same.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises.
    """
    with tempfile.TemporaryDirectory() as folder:
        startup = Path(folder) / "ipython/profile_default/startup/first.py"
        startup.parent.mkdir(parents=True)
        startup.write_text(_STARTUP.format(benchmarks=str(ROOT / "benchmarks")))
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "IPYTHONDIR": str(startup.parents[2]), "PYTHONPATH": paths}
        client = NotebookClient(
            notebook, timeout=seconds, kernel_name="python3", record_timing=False
        )
        client.execute(cwd=folder, env=environment)
    return notebook


def main() -> None:
    """Run those that are named, or all."""
    chosen = [EXAMPLES / f"{name}.ipynb" for name in sys.argv[1:]]
    for path in chosen or sorted(EXAMPLES.glob("*.ipynb")):
        nbformat.write(execute(nbformat.read(path, as_version=4)), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
