"""What an index and pip are told of the package, and what is in its source archive."""

import re
import shutil
import subprocess
import sys
import tarfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
#: Hides packages from a process that setuptools' hooks run in.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({hidden!r}))\n"
SDIST = "from setuptools import build_meta; build_meta.build_sdist({out!r})"
METADATA = "from setuptools import build_meta; build_meta.prepare_metadata_for_build_wheel({out!r})"


@pytest.fixture
def checkout(tmp_path):
    """A copy of what git knows of the package, so that nothing is left in the checkout."""
    copy = tmp_path / "checkout"
    listed = ["csrc", "clever_ext", "*.in", "*.md", "*.toml", "*.txt", "LICENSE", "setup.py"]
    files = ["tests/test_package.py", "tools/check_wheel.py"]  # to be left out
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *listed]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in [*done.stdout.strip("\0").split("\0"), *files]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    return copy


def run(checkout, code, hidden=()):
    """Run one of the hooks that pip and build call, without the packages that are named."""
    out = checkout.parent / "out"
    out.mkdir(exist_ok=True)
    code = WITHOUT.format(hidden=hidden) + code.format(out=str(out))
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True), out


def metadata(checkout):
    done, out = run(checkout, METADATA)
    assert done.returncode == 0, done.stderr
    [path] = out.glob("*.dist-info/METADATA")
    return message_from_string(path.read_text())


def test_a_source_archive_is_made_without_torch_and_builds_the_extension(checkout):
    done, out = run(checkout, SDIST, hidden=("torch",))
    assert done.returncode == 0, done.stderr
    [archive] = out.glob("clever_ext-*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob("*.*")}
    assert sources | {"CMakeLists.txt", "setup.py", "pyproject.toml", "LICENSE"} <= names
    package = {p for p in checkout.joinpath("clever_ext").rglob("*") if p.is_file()}
    assert {path.relative_to(checkout).as_posix() for path in package} <= names
    assert not [name for name in names if name.startswith(("tests", "tools")) or ".so" in name]


def last_line(done):
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_without_torch_one_sentence_says_what_to_do(checkout):
    done, _ = run(checkout, METADATA, hidden=("torch",))
    assert "install torch first" in last_line(done)
    assert "--no-build-isolation" in last_line(done)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("import torch; torch.__version__ = '2.9.1+cpu'", "2.9.1+cpu is installed: upgrade torch"),
        ("import os; os.environ['PATH'] = ''", "cmake and ninja cannot be found"),
        (
            "import sysconfig as s; f = s.get_config_var;"
            "s.get_config_var = lambda name: name == 'Py_GIL_DISABLED' or f(name)",
            "cannot run in a free-threaded Python",
        ),
    ],
)
def test_other_environments_that_cannot_build_are_refused(checkout, before, said):
    done, _ = run(checkout, f"{before}\n{METADATA}")
    assert said in last_line(done)


def test_metadata_are_complete(checkout):
    found = metadata(checkout)
    assert found["Name"] == "clever_ext"
    assert found["License-Expression"] == "Apache-2.0"
    assert found["License-File"] == "LICENSE"
    assert found["Author"] == "The clever_ext contributors"
    assert found["Requires-Python"] == ">=3.10"
    assert found["Description-Content-Type"] == "text/markdown"
    assert "Programming Language :: Python :: 3.14" in found.get_all("Classifier")
    assert {"Summary", "Keywords"} <= set(found)


LINK = re.compile(r"!?\[[^]]*\]\(([^)]*)\)")


def test_the_description_has_no_link_that_leads_nowhere(checkout):
    """An index shows it without the repository."""
    shown = metadata(checkout).get_payload()
    assert "(docs/" in (ROOT / "README.md").read_text()
    assert [link for link in LINK.findall(shown) if not link.startswith("https:")] == []
    assert "bracket of two ends" in shown
    assert "which score?" in shown


def test_the_description_leads_to_the_address_of_the_sources(checkout):
    text = (checkout / "pyproject.toml").read_text()
    urls = '[project.urls]\nSource = "https://host.example/us/clever_ext"\n\n[tool.ruff]\n'
    (checkout / "pyproject.toml").write_text(text.replace("[tool.ruff]\n", urls))
    found = metadata(checkout)
    links = LINK.findall(found.get_payload())
    assert found["Project-URL"] == "Source, https://host.example/us/clever_ext"
    assert "https://host.example/us/clever_ext/raw/HEAD/docs/images/demo.png" in links
    assert "https://host.example/us/clever_ext/blob/HEAD/docs/guide/start.md" in links
    assert len(links) == len(LINK.findall((ROOT / "README.md").read_text()))


def test_the_workflow_runs_what_every_change_must_pass():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert ".ci/run" in commands
    assert any(command.startswith("cibuildwheel") for command in commands)
    kept = [step["with"]["name"] for step in steps if "upload-artifact" in step.get("uses", "")]
    assert kept == ["docs", "dist"]
