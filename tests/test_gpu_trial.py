"""tools/gpu_trial.py: steps that fail, hang or are killed, and what is kept of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import lines
import pytest
from trial import machine, profile, summary
from trial.plan import of_machine
from trial.runner import LINES, Step

ROOT = Path(__file__).parents[1]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


#: In the place of a limit's end: a file is there, which is taken away.
AT_FILE = """
import subprocess, time
def wait(self, timeout=None, whole=subprocess.Popen.wait):
    while timeout is not None and self.poll() is None:
        if FILE.exists():
            FILE.rename(f"{FILE}.seen")
            raise subprocess.TimeoutExpired(self.args, timeout)
        time.sleep(0.01)
    return whole(self)
subprocess.Popen.wait = wait
"""


def ran(
    folder: Path, steps: list[Step], seconds: float = 60.0, prelude: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run steps in a process of its own, for a trial ends all children."""
    code = (
        "import sys; from pathlib import Path; from trial.runner import Step, Trial\n"
        + prelude
        + f"with Trial('a', Path({str(folder)!r}), {seconds}) as trial:\n"
        f"    for step in {steps!r}: trial.run(step)\n"
        "sys.exit(trial.failed)"
    )
    path = ":".join(str(ROOT / name) for name in ("tools", "benchmarks"))
    return subprocess.run(
        python(code), env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=100
    )


def trial(
    folder: Path,
    steps: list[Step],
    seconds: float = 60.0,
    ends_at: Path | None = None,
    prelude: str = "",
) -> tuple[list[dict], str]:
    """Return lines and output of a trial that is not ended from outside."""
    prelude += AT_FILE.replace("FILE", f"Path({str(ends_at)!r})") if ends_at else ""
    done = ran(folder, steps, seconds, prelude)
    assert done.returncode in (0, 1), done.stderr
    return lines.read(folder / "trial.jsonl"), done.stdout


def statuses(told: list[dict]) -> dict[str, str]:
    return {line["step"]: line["status"] for line in told if "step" in line}


def none_runs(pids: Path) -> Step:
    """A step that fails where one of some processes still runs."""
    code = (
        "import sys; from pathlib import Path\n"
        f"pids = Path({str(pids)!r}).read_text().split()\n"
        "stats = [Path(f'/proc/{pid}/stat') for pid in pids]\n"
        "states = [s.read_text().rpartition(')')[2].split()[0] for s in stats if s.exists()]\n"
        "sys.exit(any(state != 'Z' for state in states))"
    )
    return Step("none runs", 30, python(code))


def test_a_step_that_fails_does_not_end_the_trial(tmp_path):
    told, printed = trial(
        tmp_path,
        [
            Step("fails", 30, python("print('the reason'); raise SystemExit(3)")),
            Step("crashes", 30, python("import os; os.abort()")),
            Step("is no program", 30, [str(tmp_path / "nothing")]),
            Step("lacks", 30, python(""), lacks="there is no GPU"),
            Step(
                "refuses", 30, python("raise SystemExit('error: ERR_X for you')"), refused="ERR_X"
            ),
            Step("works", 30, python("print('ERR_X')"), refused="ERR_X"),
        ],
    )
    assert statuses(told) == {
        "fails": "failed", "crashes": "failed", "is no program": "failed", "lacks": "skipped",
        "refuses": "refused", "works": "ok",
    }  # fmt: skip
    by_name = {line["step"]: line for line in told if "step" in line}
    assert by_name["fails"]["exit_status"] == 3
    assert "the reason" in by_name["fails"]["output"]
    assert by_name["refuses"]["reason"] == "error: ERR_X for you"
    made = told[-1]["summary"]
    assert list(made["failed_steps"]) == ["fails", "crashes", "is no program"]
    assert made["not_run"] == {"lacks": "there is no GPU", "refuses": "error: ERR_X for you"}
    assert "lacks: there is no GPU" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trial.jsonl", "trial.log"]
    assert "== half a, fails\nthe reason\n" in (tmp_path / "trial.log").read_text()


def test_a_step_over_its_limit_is_killed_with_all_its_children(tmp_path):
    """One of them leads a session of its own, and outlives its parent."""
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(1000)']\n"
        "own = [subprocess.Popen(sleep, start_new_session=new).pid for new in (False, True)]\n"
        "away = 'import subprocess, sys; print(subprocess.Popen(sys.argv[1:], "
        "stdout=subprocess.DEVNULL, start_new_session=True).pid)'\n"
        "told = subprocess.run([sys.executable, '-c', away, *sleep], stdout=subprocess.PIPE)\n"
        f"open('{pids}.new', 'w').write(f'{{own[0]}} {{own[1]}} {{int(told.stdout)}}')\n"
        f"os.rename('{pids}.new', '{pids}')\n"
        "time.sleep(1000)"
    )
    steps = [Step("hangs", 30, python(code)), none_runs(Path(f"{pids}.seen"))]
    told, _ = trial(tmp_path, steps, ends_at=pids)
    assert len(Path(f"{pids}.seen").read_text().split()) == 3
    assert statuses(told) == {"hangs": "over its limit", "none runs": "ok"}
    assert told[-1]["summary"]["failed_steps"] == {"hangs": "over its limit"}


def ends_its_trial(number: int, fifo: Path) -> Step:
    """A step with a child in a session of its own; both hold a pipe, and tell if they outlive."""
    code = (
        "import os, subprocess, sys, time; from pathlib import Path\n"
        f"pipe = os.open({str(fifo)!r}, os.O_WRONLY); os.set_inheritable(pipe, True)\n"
        "late = f'import os, time; time.sleep(30); os.write({pipe}, b\"outlived\")'\n"
        "subprocess.Popen([sys.executable, '-c', late], close_fds=False, start_new_session=True)\n"
        "stat = Path(f'/proc/{os.getppid()}/stat').read_text()\n"
        f"os.kill(int(stat.rpartition(')')[2].split()[1]), {number})\n"
        "exec(late)"
    )
    return Step("ends it", 50, python(code))


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as file:
        yield path, file


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_trial_that_is_told_to_end_ends_its_steps_and_sums_up(tmp_path, fifo, number):
    pipe, outliving = fifo
    begin = f"import signal; signal.signal({int(number)}, signal.SIG_DFL)\n"
    done = ran(tmp_path, [ends_its_trial(number, pipe), Step("after", 50, [])], prelude=begin)
    assert (done.returncode, done.stderr) == (128 + number, "")
    assert outliving.read() == b""
    told = lines.read(tmp_path / "trial.jsonl")
    assert statuses(told) == {"ends it": "stopped"}
    assert told[-1]["summary"]["stopped"] == f"SystemExit({128 + number})"
    assert "step ends it: stopped" in done.stdout


def test_no_step_outlives_a_trial_that_is_killed(tmp_path, fifo):
    pipe, outliving = fifo
    assert ran(tmp_path, [ends_its_trial(signal.SIGKILL, pipe)]).returncode == -signal.SIGKILL
    assert outliving.read() == b""


def test_steps_that_need_what_went_wrong_are_skipped(tmp_path):
    told, _ = trial(
        tmp_path,
        [
            Step("build", 30, python("raise SystemExit(1)")),
            Step("needs it", 30, python(""), after=["build"]),
            Step("needs a GPU too", 30, python(""), lacks="no GPU", after=["build"]),
        ],
    )
    assert told[-1]["summary"]["not_run"] == {
        "needs it": "the build failed", "needs a GPU too": "no GPU",
    }  # fmt: skip
    steps = [Step("build", 30, [], spares=99), Step("needs it", 30, python(""), after=["build"])]
    told, _ = trial(tmp_path, [*steps, Step("needs it not", 30, python(""))])
    assert told[-1]["summary"]["not_run"] == {
        "build": "no time is left of 60 s", "needs it": "no time was left for the build",
    }  # fmt: skip


def test_a_full_disk_ends_nothing(tmp_path):
    full = "import lines\ndef append(*_): raise OSError(28, 'no space')\nlines.append = append\n"
    told, printed = trial(tmp_path, [Step("works", 30, python(""))], prelude=full)
    assert told == []
    assert 'no space): {"step": "works"' in printed
    assert "steps: 1 ok" in printed
    (tmp_path / "trial.log").unlink()
    (tmp_path / "trial.log").symlink_to("/dev/full")
    told, printed = trial(tmp_path, [Step("prints", 30, python("print('much')"))])
    assert statuses(told) == {"prints": "ok"}
    assert "what prints printed is not in the log: [Errno 28]" in printed


def test_each_run_counts_its_own_lines(tmp_path):
    """The other half writes into the same folder meanwhile."""
    other = {"step": "of the other half", "half": "b", "status": "failed", "run": "b-1-1"}
    write = f"lines.append(Path(os.environ[{LINES!r}]), {{'test': 't', 'outcome': 'passed'}})"
    code = f"import os, lines; from pathlib import Path\n{write}"
    lines.append(tmp_path / "trial.jsonl", other)
    begin = (
        "import lines, trial.runner as r; keep = r.Trial._keep\n"
        "def meanwhile(self, *a):\n"
        f"    lines.append(self.lines, {other!r}); return keep(self, *a)\n"
        "r.Trial._keep = meanwhile\n"
    )
    told, _ = trial(tmp_path, [Step("own", 30, python(code))], prelude=begin)
    assert len(told) == 5
    made = told[-1]["summary"]
    assert (made["steps"], made["failed_steps"]) == ({"ok": 1}, {})
    assert made["tests"] == {"passed": 1}


def test_what_a_step_leaves_running_ends_with_it(tmp_path):
    left = tmp_path / "left"
    code = (
        "import subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(1000)']\n"
        "pid = subprocess.Popen(sleep, start_new_session=True).pid\n"
        f"open({str(left)!r}, 'w').write(str(pid))"
    )
    told, _ = trial(tmp_path, [Step("leaves", 30, python(code)), none_runs(left)])
    assert statuses(told) == {"leaves": "ok", "none runs": "ok"}


def test_lines_of_a_killed_step_are_whole(tmp_path):
    """A benchmark is killed while it writes; the next step goes on behind what it left."""
    figure = {"figure": "f", "target": None, "ratio": {"median": 1.0}}
    many = (
        "import os, sys, lines; from pathlib import Path\n"
        f"file = Path(os.environ[{LINES!r}])\n"
        f"for case in range(30): lines.append(file, {{**{figure!r}, 'case': str(case)}})\n"
        "file.open('a').write('{\"torn\": ')\n"
        "os.kill(os.getpid(), 9)"
    )
    told, _ = trial(tmp_path, [Step("killed", 30, python(many)), Step("after", 30, python(""))])
    assert statuses(told) == {"killed": "failed", "after": "ok"}
    assert [line["case"] for line in told if "figure" in line] == [str(n) for n in range(30)]
    assert told[-1]["summary"]["figures"] == 30
    whole = (tmp_path / "trial.jsonl").read_text().splitlines()
    assert [text for text in whole if text == '{"torn": '] != []
    assert len(whole) == len(told) + 1


def test_no_step_gets_more_than_is_left_of_the_half(tmp_path):
    told, printed = trial(tmp_path, [Step("long", 1000, python(""))], seconds=100)
    assert statuses(told) == {"long": "ok"}
    assert "long (at most 9" in printed
    spares = Step("spares", 1000, python(""), spares=900)
    assert "spares (at most 9" in trial(tmp_path / "spares", [spares], seconds=1000)[1]
    told, _ = trial(tmp_path / "late", [Step("late", 1000, python(""))], seconds=8)
    assert statuses(told) == {"late": "skipped"}
    assert told[-1]["summary"]["not_run"] == {"late": "no time is left of 8 s"}


def test_each_test_is_a_line(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_passes(): pass\n"
        "def test_fails(): assert 1 == 2, 'of course'\n"
        "@pytest.mark.skip(reason='no GPU')\n"
        "def test_is_skipped(): pass\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError('away')\n"
        "def test_cannot_begin(broken): pass\n"
    )
    (tmp_path / "test_unreadable.py").write_text("import nothing_of_that_name\n")
    options = ["-c", "/dev/null", "--rootdir", str(tmp_path), "--continue-on-collection-errors"]
    command = [sys.executable, "-m", "pytest", "-p", "trial.pytest_lines", *options, str(tmp_path)]
    told, _ = trial(tmp_path / "out", [Step("tests", 60, command)])
    found = {line["test"]: line for line in told if "test" in line}
    assert {name: line["outcome"] for name, line in found.items()} == {
        "test_unreadable.py (collection)": "failed",
        "test_it.py::test_passes": "passed",
        "test_it.py::test_fails": "failed",
        "test_it.py::test_is_skipped": "skipped",
        "test_it.py::test_cannot_begin": "failed",
    }
    assert "of course" in found["test_it.py::test_fails"]["reason"]
    assert "no GPU" in found["test_it.py::test_is_skipped"]["reason"]
    assert told[-1]["summary"]["tests"] == {"failed": 3, "passed": 1, "skipped": 1}


def test_the_machine_is_described_and_one_of_another_run_is_not_taken(tmp_path):
    told, _ = trial(tmp_path, list(of_machine(None)))
    assert statuses(told) == {"machine": "ok"}
    assert told[0]["about"]["versions"].keys() == {"torch", "CUDA", "python"}
    found = machine.read(tmp_path / "trial.jsonl", told[0]["run"])
    assert found.looked
    assert found.cores >= 1
    assert machine.read(tmp_path / "trial.jsonl", "a-0-0") == machine.Machine()
    assert machine.read(tmp_path / "nothing.jsonl", "a-0-0") == machine.Machine()


def test_a_profile_has_a_line_for_each_launch():
    printed = (
        '==PROF== Connected to process 1\n"ID","Kernel Name","Metric Name","Metric Unit",'
        '"Metric Value"\n"0","sample","Duration","us","12.5"\n"0","sample","Registers","","40"\n'
        '"1","norm","Duration","us","7"\n'
    )
    assert profile.launches(printed) == [
        {"profile": "sample", "metrics": {"Duration": "12.5 us", "Registers": "40"}},
        {"profile": "norm", "metrics": {"Duration": "7 us"}},
    ]
    assert profile.launches("==ERROR== ERR_NVGPUCTRPERM") == []


def test_a_summary_names_what_went_wrong():
    figure = {"figure": "f", "case": "c", "target": 0.9, "ratio": {"median": 0.5}}
    told = [
        {"step": "build", "half": "a", "status": "ok"},
        {"test": "t", "outcome": "failed"},
        figure,
        {**figure, "case": "d", "target": 1.0, "at_most": True},
        {"failed": "loop", "error": "OutOfMemoryError"},
    ]
    made = summary.of_lines(told)
    assert (made["missed"], made["failed_tests"]) == (["f, c"], ["t"])
    text = summary.text({**made, "half": "a", "seconds": 9, "limit": 390.0}, told)
    assert "9 s of 390 s" in text
    assert "2, 1 of them miss their target" in text
    assert "f, c: 0.5 (missed: at least 0.9)" in text
    assert "f, d: 0.5 (at most 1)" in text
    assert "not measured: loop" in text
    assert json.dumps(made)
