"""Verdicts as verifiers have spelled them."""

import pytest
from truth.verdicts import agreed, verdicts

WRITTEN = {
    "a-b-CROWN": "SAT", "oval": "violated", "nnv": "holds", "VeriNet": "UNSAT",
    "ERAN": "run_instance_timeout", "nnenum": "error_exit_code_1", "venus2": "", "RPM": "violated",
}  # fmt: skip


def written(folder, network, benchmark="mnistfc"):
    for tool, said in WRITTEN.items():
        place = f"./benchmarks/{benchmark}"
        line = f"{benchmark},{place}/{network},{place}/vnnlib/prop_0_0.03.vnnlib,.01,{said},2.5\n"
        (folder / f"{tool}.csv").write_text(f"test,./a.onnx,./a.vnnlib,.1,holds,1\n{line}")
    return verdicts(folder, benchmark)


def test_spellings_and_what_was_struck_out(tmp_path):
    expected = {"a-b-CROWN": "violated", "oval": "violated", "nnv": "holds", "VeriNet": "holds"}
    assert written(tmp_path, "nets/a.onnx") == {
        ("nets/a.onnx", "vnnlib/prop_0_0.03.vnnlib"): expected
    }
    of_other = written(tmp_path, "a.onnx", "oval21")
    assert list(of_other.values()) == [{**expected, "RPM": "violated"}]


@pytest.mark.parametrize(
    ("tools", "verdict"),
    [
        ({}, "unknown"),
        ({"a": "holds", "b": "holds"}, "holds"),
        ({"a": "violated"}, "violated"),
        ({"a": "violated", "b": "holds", "c": "holds"}, "disputed"),
    ],
)
def test_verdicts_count_where_all_agree(tools, verdict):
    assert agreed(tools) == verdict
