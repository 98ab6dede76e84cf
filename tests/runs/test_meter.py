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


def test_a_run_shows_nothing_unless_told(small, capsys):
    small.score("run")
    assert capsys.readouterr() == ("", "")
