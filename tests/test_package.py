"""Importing the package, and what it says where its compiled half is missing."""

import subprocess
import sys

import pytest

import clever_ext

MISSING = """
import sys
sys.modules["clever_ext._C"] = None
import clever_ext
clever_ext.clever_score
"""


def test_a_missing_extension_says_why_and_what_to_do():
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: clever_ext's compiled half did not load")
    assert "make install" in last


def test_all_names_are_there():
    for name in clever_ext.__all__:
        assert getattr(clever_ext, name) is not None
        assert name in dir(clever_ext)
    assert clever_ext.data.open_images.__name__ == "open_images"  # a module that nobody imported
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        clever_ext.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import clever_ext", {"torch", "numpy", "pandas", "rich"}),
        ("from clever_ext import clever_score", {"pandas", "pyarrow", "rich", "scipy", "PIL"}),
    ],
)
def test_heavy_packages_are_imported_late(code, heavy):
    code = f"import sys; {code}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
