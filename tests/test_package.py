"""Importing the package, and what it says where its compiled half is missing."""

import subprocess
import sys

MISSING = """
import sys
sys.modules["clever_ext._C"] = None
import clever_ext
"""


def test_a_missing_extension_says_why_and_what_to_do():
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: clever_ext's compiled half did not load")
    assert "make install" in last


def test_heavy_packages_are_imported_late():
    heavy = {"matplotlib", "pandas", "PIL", "pyarrow", "rich", "scipy"}
    code = f"import sys, clever_ext; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
