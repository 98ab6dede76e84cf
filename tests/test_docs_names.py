"""What pages name is looked for: each rule finds a fault, and takes nothing else for one."""

from contextlib import suppress
from unittest import SkipTest

import docs_names
import pytest
from peers import peer

with suppress(SkipTest):
    peer("torchvision")  # which Lightning imports where it is installed


def found(text, others=()):
    foreign = docs_names.foreign_options([text, *others])
    return [each.name for each in docs_names.missing("page.md", text, foreign)]


def block(*lines, language=""):
    return "\n".join([f"```{language}", *lines, "```"])


FAULTS = {
    "a file": ("see `tools/nothing.py`", "file tools/nothing.py"),
    "a file in a block": (block("python benchmarks/nothing.py"), "file benchmarks/nothing.py"),
    "a folder": ("in `tests/nothing/`", "file tests/nothing/"),
    "a pattern": ("the files `csrc/kernels/*.py`", "file csrc/kernels/*.py"),
    "one of several files": (
        "`tools/{messages,nothing}.py`",
        "file tools/{messages,nothing}.py",
    ),
    "a module from its room on": (
        "`evt/nothing.py` fits",
        "file clever_ext/evt/nothing.py",
    ),
    "an option by itself": ("give `--nothing`", "option --nothing"),
    "an option of another command": (
        "`clever-ext status --images x`",
        "option --images of clever-ext status",
    ),
    "an option of a command without the program's name": (
        "`score --nothing`",
        "option --nothing of clever-ext score",
    ),
    "an option in a block": (
        block("clever-ext score --model m --nothing 3"),
        "option --nothing of clever-ext score",
    ),
    "an option behind a line's end": (
        block("clever-ext score --model m \\", "    --nothing 3"),
        "option --nothing of clever-ext score",
    ),
    "an option behind a launcher": (
        block("torchrun --nproc-per-node 8 -m clever_ext score --nothing"),
        "option --nothing of clever-ext score",
    ),
    "an option of a script": (block("python tools/messages.py --nothing"), "option --nothing"),
    "a command": (block("clever-ext nothing runs/mine"), "command clever-ext nothing"),
    "a public name": ("`cx.nothing(model)`", "name cx.nothing"),
    "a member of a public name": (
        block("cx.plot.nothing(row)", language="python"),
        "name cx.plot.nothing",
    ),
    "a name beside another library's": ("`cx.compat.art.nothing`", "name cx.compat.art.nothing"),
    "a name of a module that is not imported": (
        "`clever_ext.compat.lightning.nothing`",
        "name clever_ext.compat.lightning.nothing",
    ),
    "a member of a class": ("`CleverResult.nothing`", "name CleverResult.nothing"),
    "a module": ("`clever_ext.nothing.fit`", "name clever_ext.nothing.fit"),
    "an import": (
        block("from clever_ext.data import open_images, nothing", language="python"),
        "name nothing in clever_ext.data",
    ),
    "a function of a module": ("`glossary.nothing()`", "name glossary.nothing()"),
    "a target of make": ("`make nothing`", "target of make nothing"),
    "a target of make in a block": (block("make nothing # quickly"), "target of make nothing"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_found(case):
    text, expected = FAULTS[case]
    assert found(f"Words before.\n\n{text}\n") == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "`tools/messages.py`, `tests/evt/`, `csrc/math/*.h` and `tools/{messages,polynomials}.py`",
        "a run's folder `runs/before` with `parts/part-00000.parquet` and `my_package/nets.py`",
        block("python benchmarks/gpu.py kernels --out benchmarks/results/gpu-NAME.jsonl"),
        "`--model`, `score --dry-run` and `imagenette2 --split val`",
        "pip's `--no-deps`, and `pytest --lf`",
        block("torchrun --max-restarts 10 -m clever_ext score --out runs/a") + "\n`--max-restarts`",
        block("clever-ext score --out runs/a    # --array=0-31", "ls --color | head"),
        block("clever-ext status runs/a | grep --count ok"),
        "`cx.clever_score(model, images).table`, `cx.CleverResult.table`, `cx.plot.fit(row)`",
        "`result.table`, `model.eval()`, `images.shape`, `run.json`, `report.html`, `torch.nn`",
        block("import clever_ext as cx", "from clever_ext import plan, check", language="python"),
        "`GradientOracle.logits`, `fit_reverse_weibull(maxima)` and `clever_ext.data.open_images`",
        "`clever_ext.compat.torchmetrics.CleverScore` and `clever_ext.compat.lightning`",
        "`art.metrics.clever_t`, and ours at `cx.compat.art.clever_t`",
        "`make test` and `make install && make lint`; make nothing of words outside code",
        block("# make sure", "make_model()", language="python"),
    ],
)
def test_what_is_there_is_no_fault(text):
    assert found(text) == []


def test_a_fault_has_its_line():
    text = f"one\n\n{block('two', 'clever-ext status --nothing', 'three')}\n"
    assert [each.line for each in docs_names.missing("page.md", text, set())] == [5]


def test_a_page_that_a_message_names_is_looked_for():
    text = '"""Law.\n\ndocs/concepts/method.md has more; docs/nothing.md too."""\n'
    (missing,) = docs_names.missing_pages("module.py", text)
    assert (missing.line, missing.name) == (3, "page docs/nothing.md")
