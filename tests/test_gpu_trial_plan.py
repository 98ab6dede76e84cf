"""What tools/gpu_trial.py plans for a machine, and how it is called."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import gpu_trial
import pytest
from trial import machine, plan, wheels
from trial.plan import HALVES, Plan
from trial.runner import Step

EVERYTHING = machine.Machine(
    looked=True, gpu="GPU", capability="9.0", cuda="13.0", build="build/torch", cores=16,
    programs={name: name for name in ("nvcc", "ncu", "compute-sanitizer", "cmake", "ninja")},
    packages=machine._PACKAGES,
)  # fmt: skip


def steps_on(half: str, found: machine.Machine, emulated: bool = False) -> list[Step]:
    return list(HALVES[half](Plan(found, emulated, lines=Path("lines"))))


@pytest.mark.parametrize("half", HALVES)
def test_what_runs_on_which_machine(half):
    """On a machine with everything nothing is skipped; without a GPU only what needs none runs."""
    assert [step.name for step in steps_on(half, EVERYTHING) if step.lacks is not None] == []
    bare = replace(EVERYTHING, gpu=None, cuda=None)
    runs = [step for step in steps_on(half, bare, emulated=True) if step.lacks is None]
    names = [step.name for step in runs]
    assert "driver under the emulator" in names
    assert ("tests on emulated kernels" if half == "a" else "a real score on the CPU") in names
    assert not any(
        "benchmarks/gpu.py" in step.command and "cpu" not in step.command for step in runs
    )
    assert not any(step.on_gpu for step in runs)


@pytest.mark.parametrize("half", HALVES)
def test_what_is_missing_is_the_reason_of_every_step_that_needs_it(half):
    def lack(found: machine.Machine) -> dict[str, set[str]]:
        reasons: dict[str, set[str]] = {}
        for step in steps_on(half, found):
            reasons.setdefault(step.lacks or "", set()).add(step.name)
        return reasons

    everything = {step.name for step in steps_on(half, EVERYTHING)}
    assert lack(machine.Machine()) == {"the machine step failed": everything}
    no_nvcc = {name: name for name in EVERYTHING.programs if name != "nvcc"}
    driven = {"driver by nvcc", "driver", "memcheck", "racecheck", "profile of six launches"}
    without = lack(replace(EVERYTHING, programs=no_nvcc))["not found: nvcc"]
    assert without == everything & {"build", *driven}
    others = tuple(name for name in EVERYTHING.packages if name not in ("pytest", "foolbox"))
    expected = {
        "a": {"not found: pytest": {"captures and the engine", "tests on the GPU"}},
        "b": {"not found: foolbox": {"a real score"}},
    }
    found = lack(replace(EVERYTHING, packages=others))
    assert {reason: names for reason, names in found.items() if reason} == expected[half]
    assert "cmake" in next(iter(lack(replace(EVERYTHING, programs={})).keys()))


def test_the_build_takes_what_the_cheapest_essential_steps_leave():
    build, self_test, kernels, *_ = steps_on("a", EVERYTHING)
    assert build.limit > 390
    assert build.spares == self_test.limit + kernels.limit
    build, score, *_ = steps_on("b", replace(EVERYTHING, cores=2))
    assert build.spares == score.limit > steps_on("b", EVERYTHING)[1].limit
    assert build.command[-1].index("egg_info") < build.command[-1].index("build_ext")
    needing = [step for half in HALVES for step in steps_on(half, EVERYTHING)]
    assert all("build" in step.after for step in needing if step.name != "build")


def test_programs_of_the_toolkit_are_where_setup_looks_for_nvcc(tmp_path, monkeypatch):
    places = [tmp_path / name for name in ("home", "path", "on_path")]
    for place in places:
        (place / "bin").mkdir(parents=True)
        (place / "bin" / "ncu").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(places[2] / "bin"))
    monkeypatch.setenv("CUDA_PATH", str(places[1]))
    monkeypatch.setenv("CUDA_HOME", str(places[0]))
    found = [machine.of_toolkit("ncu")]
    monkeypatch.delenv("CUDA_HOME")
    found.append(machine.of_toolkit("ncu"))
    monkeypatch.delenv("CUDA_PATH")
    assert [*found, machine.of_toolkit("ncu")] == [str(place / "bin" / "ncu") for place in places]


def commanded(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu_trial.py", *arguments])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return gpu_trial.main()


@pytest.mark.parametrize(("on_gpu", "code", "status"), [
    (False, "", 3), (True, "", 0), (True, "raise SystemExit(1)", 1),
])  # fmt: skip
def test_exit_status(tmp_path, monkeypatch, on_gpu, code, status):
    """The steps are carried out by a stand-in: a trial ends all children of its process."""

    class Stand(gpu_trial.Trial):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def run(self, step):
            self.ran_on_gpu |= step.on_gpu
            self.failed |= "SystemExit" in step.command[-1]

    monkeypatch.setattr(gpu_trial, "Trial", Stand)
    step = Step("step", 30, [sys.executable, "-c", code], on_gpu=on_gpu)
    monkeypatch.setattr(plan, "HALVES", {"a": lambda _: [step]})
    assert commanded(monkeypatch, "--half", "a", "--out", str(tmp_path)) == status
    emulated = commanded(monkeypatch, "--half", "a", "--out", str(tmp_path), "--emulated")
    assert emulated == (0 if status == 3 else status)


@pytest.mark.parametrize("seconds", ["0", "-5", "nan", "inf", "soon"])
def test_limits_are_positive(monkeypatch, capsys, seconds):
    with pytest.raises(SystemExit, match="2"):
        commanded(monkeypatch, f"--limit-b={seconds}")
    assert "--limit-b" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    assert commanded(monkeypatch, "--out", str(tmp_path / "file" / "folder")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_wheels_have_the_versions_of_the_project():
    wanted = wheels.requirements()
    assert "setuptools>=77" in wanted
    assert [name for name in wanted if name.startswith("argcomplete>=")] != []
