"""What a run shows of itself."""

import re

from clever_ext.runs import meter as module
from clever_ext.runs.log import Tally, open_log
from clever_ext.runs.meter import meter


def test_a_line_now_and_then_where_there_is_no_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "_LINE", 0.0)
    tally = Tally(tmp_path / "log.jsonl")
    with open_log(tally.path) as log, meter(True, 100, tally) as shown:
        log.write("start", first=True)
        for piece in range(2):
            shown.within(10, 5, 10)
            facts = {"images": 10, "errors": 0, "gradients": 10, "scores": {"2": [10, 5.0, 3.0]}}
            log.write("piece", piece=piece, **facts)
            shown.finished()
    said = capsys.readouterr().err
    assert "10 of 100 pictures" in said
    last = said.strip().splitlines()[-1]
    assert re.fullmatch(
        r"20 of 100 pictures \(20\.000%\); [\d,.]+ pictures/s [\d,]+ gradients/s  "
        r"l2 0\.5 ± \d\S*; .* left",
        last,
    )


def test_a_long_first_piece_is_told_of_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "_LINE", 0.0)
    with meter(True, 20, Tally(tmp_path / "log.jsonl")) as shown:
        shown.within(1, 0, 1000)
        shown.within(1, 10, 1000)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("0 of 20 pictures (0.000%)")
    assert first.endswith("unknown time left")
    assert re.fullmatch(r"0 of 20 pictures \(0\.050%\); [\d,]+ gradients/s; \d.* left", last)


def test_a_reader_of_the_progress_may_leave(tmp_path, monkeypatch):
    class Closed:
        encoding = "utf-8"

        def isatty(self):
            return False

        def write(self, _):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(module, "_LINE", 0.0)
    with meter(True, 20, Tally(tmp_path / "log.jsonl")) as shown:
        with monkeypatch.context() as patched:
            patched.setattr("sys.stderr", Closed())
            shown.within(1, 10, 1000)
        shown.finished()


def test_a_run_shows_nothing_unless_told(small, capsys):
    small.score("run")
    assert capsys.readouterr() == ("", "")
