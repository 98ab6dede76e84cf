"""benchmarks/gpu.py where no GPU is: its works on the CPU, without captures, and its arithmetic."""

import json
import math
import subprocess
import sys
import time
from types import SimpleNamespace

import gpu
import lines
import pytest
import roof
import side_by_side
import torch
from networks import NETWORKS

LARGE, SMALL = (3, 224, 224), (1, 28, 28)


class Event:
    """In the place of a CUDA event."""

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return 1e3 * (end.at - self.at) or 1e-6


@pytest.fixture
def _on_cpu(monkeypatch):
    monkeypatch.setattr(gpu, "captured", lambda work: work)
    monkeypatch.setattr(gpu, "event", Event)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(gpu, "issue_rate", lambda: 1e12)


def test_sizes_and_layouts():
    found = list(gpu.cases())
    assert len(found) == len(set(found))
    for shape in (LARGE, (3, 384, 384), (3, 32, 32)):
        for last in (False, True):
            rows = {case.rows for case in found if case[1:] == (shape, last)}
            assert rows == {8, 64, 256, 512}
    assert {case.rows for case in found if case.shape == SMALL} == {8, 64, 256, 512, 1024}
    aimed = {(case.rows, case.shape, case.targets) for case in found if case.targets is not None}
    assert aimed == {(512, LARGE, 0.85), (8, LARGE, 0.5), (1024, SMALL, 0.5)}
    assert all(case.targets is not None for case in found[:5])


@pytest.mark.usefixtures("_on_cpu")
@pytest.mark.parametrize("case", [gpu.Case(2, SMALL), gpu.Case(3, (3, 4, 4), True)])
def test_each_kernel_has_a_figure(monkeypatch, tmp_path, case):
    counted = {"figure": "all", "case": "norm, l2, sm_90", "ratio": {"median": 6.0}}
    (tmp_path / "sass.json").write_text(json.dumps({"figures": [counted]}))
    monkeypatch.setattr(roof, "SASS", tmp_path / "sass.json")
    found = list(gpu.kernel_figures(case, "cpu", 1))
    assert len(found) == 9
    norms = [each for each in found if each["figure"].startswith("grad_norm_max")]
    elements = case.rows * math.prod(case.shape)
    assert all(each["issue_s"] == 6 * elements / 1e12 for each in norms)
    others = [each for each in found if each not in norms]
    assert all(each["instructions"] is None for each in others)
    assert {each["figure"].split(", ")[1] for each in norms} == {"share of the roof"}
    assert {each["figure"].split(", ")[1] for each in others} == {"share of the copy"}


def test_instructions_of_a_call_are_those_of_its_launches(monkeypatch, tmp_path):
    values = {"mass, p = 2": 24, "write, p = 2": 47, "mass and norm, p = 2": 30,
              "write, channels_last, p = 2": 60, "write, p = inf": 22, "norm, l2": 6}  # fmt: skip
    counted = [
        {"figure": "all", "case": f"{name}, sm_90", "ratio": {"median": value}}
        for name, value in values.items()
    ]
    (tmp_path / "sass.json").write_text(json.dumps({"figures": counted}))
    monkeypatch.setattr(roof, "SASS", tmp_path / "sass.json")
    assert roof.instructions("sampling", 2.0, False, 90) == 71
    assert roof.instructions("sampling", 2.0, True, 90) == 84
    assert roof.instructions("sampling", math.inf, False, 90) == 22
    assert roof.instructions("fused step", 2.0, False, 90) == 77
    assert roof.instructions("grad_norm_max", 1.0, True, 90) == 6
    assert roof.instructions("sampling", 1.0, False, 90) is None
    assert roof.instructions("sampling", 2.0, False, 120) is None
    monkeypatch.setattr(roof, "SASS", tmp_path / "nothing.json")
    assert roof.instructions("sampling", 2.0, False, 90) is None


@pytest.mark.usefixtures("_on_cpu")
def test_ours_and_the_bare_passes_share_one_compiled_model(monkeypatch):
    """The compiler is asked once, and what it made is what both pass through."""
    made = []

    class Compiled(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.calls = model, 0
            self.eval()

        def forward(self, x):
            self.calls += 1
            return self.model(x)

    def compiled(model, **_):
        made.append(Compiled(model))
        return made[-1]

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setitem(gpu.NETWORKS, "resnet-50", NETWORKS["tiny"])
    monkeypatch.setitem(gpu.LOOPS, "resnet-50", 8)
    assert list(gpu.loop_figures("resnet-50", "float32", "cpu", 0)) == []
    made.clear()
    (figure,) = gpu.loop_figures("resnet-50", "float32", "cpu", 1)
    assert len(made) == 1
    # Twice 50 bare passes, and twice 60 steps of ours, at least.
    assert made[0].calls >= 2 * gpu.STEPS + 2 * (gpu.STEPS + gpu.WARM_UP)
    assert figure["case"] == "resnet-50, float32, batch 8"
    assert "compile" in figure["engine"]["options"]


def test_figures_are_lines_at_once_and_a_failure_ends_no_other_work(tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    figure = side_by_side.figure("f", "c", None, [2.0], [1.0])

    def works():
        yield figure
        assert lines.read(out)[-1] == figure
        raise torch.OutOfMemoryError("no memory")

    assert gpu.measured([works, lambda: iter([figure])], out) == 1
    about, *told = lines.read(out)
    assert about["about"]["versions"]["torch"] == torch.__version__
    assert about["about"]["gpu"] is None
    assert [line.get("case", line.get("error")) for line in told] == [
        "c", "OutOfMemoryError: no memory", "c",
    ]  # fmt: skip
    assert "no memory" in capsys.readouterr().out


def test_where_a_figure_was_measured_is_the_gpu(tmp_path):
    gpu.measured([], tmp_path / "out.jsonl", "a GPU")
    (about,) = lines.read(tmp_path / "out.jsonl")
    assert (about["about"]["gpu"], about["about"]["device"]) == ("a GPU", "a GPU")
    assert "threads" in about["about"]["processor"]


@pytest.mark.parametrize("what", [["kernels"], ["loops", "photographs"], ["photographs"]])
def test_without_a_gpu_it_is_one_line(tmp_path, monkeypatch, capsys, what):
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", *what, "--out", str(out)])
    with pytest.raises(SystemExit, match="2"):
        gpu.main()
    assert capsys.readouterr().err == "torch finds no GPU\n"
    assert not out.exists()


def test_the_clock_is_that_of_the_gpu_in_use(monkeypatch):
    """Nvidia-smi numbers all GPUs, torch those that are visible: one is asked for by its UUID."""
    asked = []
    clocks = {"--id=GPU-1": "1410", "--id=GPU-2": "1980"}

    def smi(command, **_):
        asked.append(command)
        text = clocks.get(command[1], "1410\n1980")
        return subprocess.CompletedProcess(command, 0, stdout=f"{text}\n")

    properties = SimpleNamespace(uuid="2", multi_processor_count=10)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: properties)
    monkeypatch.setattr(subprocess, "run", smi)
    assert roof.issue_rate.__wrapped__() == 10 * 4 * 32 * 1980e6
    assert roof.card("name", "clocks.max.sm") == {}
    clocks["--id=GPU-2"] = "a GPU, 1980"
    assert roof.card("name", "clocks.max.sm") == {"name": "a GPU", "clocks.max.sm": "1980"}
    clocks["--id=GPU-2"] = "[N/A]"
    assert roof.issue_rate.__wrapped__() == math.inf
