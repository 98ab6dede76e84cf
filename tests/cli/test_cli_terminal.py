"""What is printed: whatever is in a name, however wide the terminal is."""

import fcntl
import io
import os
import re
import struct
import sys
import termios
import threading

import numpy as np
import pytest
from rich.cells import cell_len
from scored_runs import LOW, run

from clever_ext.cli import main, terminal
from clever_ext.cli.tables import print_scores, print_summary
from clever_ext.cli.terminal import (
    Column,
    at_the_end,
    facts,
    in_the_middle,
    print_findings,
    sentence,
    table,
)
from clever_ext.findings import Finding

NAMES = [
    "ILSVRC2012_val_00000293.JPEG",
    "a/very/deep/folder/of/pictures/cat.jpg",
    "猫の写真の長い名前.png",
    "x",
]
CLASSES = ["American black bear", "Shetland Sheepdog, Shetland sheep dog", "vizsla", "t"]
COLUMNS = [
    Column("picture", cut=in_the_middle), Column("class", cut=at_the_end, spare=2),
    Column("norm", spare=1), Column("margin", right=True, spare=3), Column("score (95 %)"),
    Column("status", cut=at_the_end),
]  # fmt: skip
ROWS = [
    [name, kind, "2", "12.345", "0.0008855 (0.0008837, 0.0008855) = R", "max-fallback, plateau"]
    for name, kind in zip(NAMES, CLASSES, strict=True)
]  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_table_fits_and_breaks_no_word(width):
    lines = table(COLUMNS, ROWS, width)
    if width >= 60:
        assert max(map(cell_len, lines)) <= width
    whole = {
        word for row in [*ROWS, [c.name for c in COLUMNS]] for cell in row for word in cell.split()
    }
    for line in lines:
        if line.startswith("Left out for want of room"):
            break
        for word in re.sub("─+", "", line).split():
            assert word in whole or "…" in word
    text = "\n".join(lines)
    assert text.count("(0.0008837, 0.0008855) = R") == len(ROWS)  # numbers are never cut
    left_out = [
        c.name for c in COLUMNS if c.name not in text.partition("Left out for want of room")[0]
    ]
    assert all(name in text.partition("Left out for want of room")[2] for name in left_out)


def test_where_there_is_room_nothing_is_cut():
    text = "\n".join(table(COLUMNS, ROWS, 200))
    assert "…" not in text
    assert "No room" not in text
    assert all(name in text for name in NAMES)


def test_what_cannot_be_left_out_goes_to_further_tables():
    columns = [Column("quantity"), *(Column(f"p = {n}", right=True) for n in range(5))]
    rows = [["mean A - mean B", *["0.293 (0.159,0.422)"] * 5], ["detectable", *["0.2"] * 5]]
    lines = table(columns, rows, 60)
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("mean A - mean B") for line in lines) == 3
    assert "\n".join(lines).count("0.293 (0.159,0.422)") == 5


def test_sentences_and_facts_are_broken_between_words():
    path = "/a/path/that/is/longer/than/the/terminal/is/wide/run.json"
    lines = sentence(f"The file {path} is damaged: well-known words stay whole.", 30)
    assert path in lines
    assert "well-known" in " ".join(lines).split()
    told = facts([("state", "complete"), ("mean scores", "l2 0.5 ± 0.1, linf 0.1 ± 0.2")], 30)
    assert told[0] == "state        complete"
    assert all(line.startswith(("state ", "mean scores  ", " " * 13)) for line in told)


def test_a_name_cannot_move_the_cursor():
    lines = table([Column("picture", cut=in_the_middle)], [["a\nb\x1b[31m\tc\u202e"]], 80)
    assert lines[2] == "a?b?[31m?c?"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_names_are_printed_as_they_are(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    names = ["[bold]x[/bold].png", "[/nothing].png", ":smile:.png", "\\[a]", "[link=http://x]y"]
    result = run(
        LOW[:5], "net", image=names, label=None, predicted=np.arange(5), target=np.arange(5) % 4
    )
    print_scores(result, ["[red]", "[/red]", "a[1]", "", "[[]]"])
    print_summary(result)
    said = capsys.readouterr().out
    for name in [*names, "[/red]"]:
        assert name in said
    if width >= 80:
        assert "[[]]" in said


def test_a_run_without_labels_misclassifies_nothing_that_is_known(capsys):
    print_summary(run(LOW[:5], "net", label=None))
    assert "no labels" in capsys.readouterr().out
    print_summary(run(LOW[:5], "net"))
    said = capsys.readouterr().out
    assert "no labels" not in said
    assert "0.0%" in said


def test_errors_are_told_with_the_way_to_try_again(capsys):
    status = np.array(["error"] * 5 + ["ok"] * 5, dtype=object)
    nan = np.where(status == "error", np.nan, 2.0)
    reasons = [f"'{n}.png' cannot be read" if n < 5 else "" for n in range(10)]
    print_summary(run(LOW[:10], "net", status=status, norm=nan, error=reasons))
    said = capsys.readouterr().out
    assert "5 of 10 pictures could not be scored" in said
    assert "--retry-errors" in said
    assert "'2.png' cannot be read" in said
    assert "2 more" in said


def test_every_sign_can_be_printed(monkeypatch):
    for encoding, expected in (
        ("ascii", b"0.5 +- 0.1~ -- ? ??"),
        ("latin-1", b"0.5 \xb1 0.1~ -- ? ??"),
    ):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", stream)
            terminal.accept_any_sign()
            terminal.show(["0.5 ± 0.1… ── 猫 \udce9\udcff"])
        stream.flush()
        assert stream.buffer.getvalue().rstrip() == expected


def test_findings_are_told_once_in_their_order(capsys):
    units = Finding("units", "the images reach from 0 to 255", "divide them by 255")
    model = Finding("model", "its outputs are [probabilities]", "give the logits")
    print_findings([units, model, units, Finding("labels", "all is well")])
    assert capsys.readouterr().out.splitlines() == [
        "model: its outputs are [probabilities]. Fix: give the logits.",
        "units: the images reach from 0 to 255. Fix: divide them by 255.",
    ]


WIDE = ["猫" * 20 + ".png", "🐈" * 20 + ".png", "é" * 40 + ".png", "🇫🇷" * 20 + ".jpg", "a" * 60]


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("size", [3, 12, 13, 20, 31])
def test_names_are_shortened_to_cells(name, size):
    for cut in (in_the_middle, at_the_end):
        short = cut(name, size)
        assert size - 3 <= cell_len(short) <= size
        start, _, end = short.partition("…")
        assert name.startswith(start)
        assert name.endswith(end)
        assert not end or cell_len(end[0])  # no accent without its letter


def test_a_name_keeps_its_start_and_more_of_its_end():
    assert in_the_middle("ILSVRC2012_val_00000293.JPEG", 20) == "ILSVRC…00000293.JPEG"
    assert at_the_end("American black bear, black bear", 20) == "American black bear…"
    assert at_the_end("chrysanthemumdog", 12) == "chrysanthem…"


def test_lines_and_columns_count_cells():
    assert sentence("猫 猫 猫 猫", 5) == ["猫 猫", "猫 猫"]
    told = facts([("猫", "a"), ("dog", "b")], 40)
    assert [cell_len(line) for line in told] == [6, 6]
    lines = table([Column("picture", cut=in_the_middle), Column("n")], [[n, "1"] for n in WIDE], 30)
    assert {cell_len(line) for line in lines[2:-1]} == {cell_len(lines[0])}


def test_columns_are_left_out_by_what_they_are_worth():
    columns = [Column("picture"), Column("a", spare=3), Column("b", spare=1), Column("c", spare=2)]
    rows = [["x.png", "a" * 4, "b" * 30, "c" * 8]]
    assert [table(columns, rows, width)[0].split() for width in (60, 45, 25, 8)] == [
        ["picture", "a", "b", "c"], ["picture", "a", "b"], ["picture", "a", "c"], ["picture"],
    ]  # fmt: skip
    said = " ".join(table(columns, rows, 45, "parts has all.")[-3:])
    assert " ".join(said.split()) == "Left out for want of room: c. parts has all."
    assert "pipe" in " ".join(table(columns, rows, 45))


def in_a_terminal(monkeypatch, width, show):
    """Return what is printed in a terminal so wide."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    read = []

    def listen():
        try:
            while got := os.read(ours, 4096):
                read.append(got)
        except OSError:  # how a terminal without programs ends
            return

    listener = threading.Thread(target=listen)
    listener.start()
    with monkeypatch.context() as patched, os.fdopen(its, "w", encoding="utf-8") as stream:
        patched.delenv("COLUMNS", raising=False)
        patched.setattr(sys, "stdout", stream)
        show()
    listener.join()
    os.close(ours)
    return b"".join(read).decode().replace("\r\n", "\n")


def scores():
    """Print scores of pictures and classes with long names, in two norms."""
    names = [f"class/{name}" for name in WIDE]
    columns = {
        "image": [name for name in names for _ in range(2)],
        "image_id": np.arange(10) // 2,
        "norm": np.tile([2.0, np.inf], 5),
        "score_low": LOW[:10] / 2,
        "score_high": LOW[:10] * 2,
        "flags": ["plateau"] * 10,
    }
    result = run(LOW[:10], "net", **columns)
    print_scores(result, ["Shetland Sheepdog, Shetland sheep dog", "猫の名前" * 10])
    print_summary(result)
    return names


@pytest.mark.parametrize("width", [60, 80, 120, 0])
def test_scores_fit_every_terminal(monkeypatch, width):
    said = in_a_terminal(monkeypatch, width, scores)
    assert max(map(cell_len, said.splitlines())) <= (width or 80)  # 0: it does not tell
    rows = [line.split() for line in said.splitlines() if line.startswith("class/")]
    assert len(rows) == 10
    assert all(f"{score:.4g}" in row for score, row in zip(LOW, rows, strict=False))
    assert [row for row in rows if {"2", "inf"} & set(row)] == rows  # rows differ in their norms
    heading = next(line for line in said.splitlines() if line.startswith("picture"))
    left_out = said.partition("Left out for want of room: ")[2].partition(".")[0]
    for name in ("predicted", "target", "margin", "95 % interval"):
        assert (name in heading) != (name in " ".join(left_out.split()))


def test_a_pipe_loses_nothing(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    names = scores()
    said = capsys.readouterr().out
    assert "…" not in said
    assert "Left out" not in said
    for name in [*names, "Shetland Sheepdog, Shetland sheep dog", "猫の名前" * 10, "ok, plateau"]:
        assert name in said
    heading = said.splitlines()[0]
    for name in ("picture", "predicted", "target", "norm", "margin", "95 % interval", "status"):
        assert name in heading


def test_of_one_norm_all_rows_have_it_and_it_goes_first(monkeypatch):
    result = run(LOW[:4], "net", score_low=LOW[:4] / 2, score_high=LOW[:4])
    said = in_a_terminal(monkeypatch, 60, lambda: print_scores(result))
    assert "norm" not in said.splitlines()[0]


def test_a_score_without_an_interval_shows_none(capsys):
    print_scores(run(LOW[:2], "net"))
    assert "nan" not in capsys.readouterr().out.lower()


def test_what_commands_print_fits(small, monkeypatch):
    monkeypatch.chdir(small.path)
    monkeypatch.delitem(sys.modules, "tiny_net", raising=False)
    options = [*small.command[3:], "--norm", "2", "inf", "--workers", "0"]
    for shard in ("0", "1"):
        assert main(["score", *options, "--shard", f"{shard}/2", "--out", shard]) == 0
    for command in (
        ["merge", "0", "1", "--out", "whole"],
        ["score", *options, "--out", "whole"],
        ["score", *options, "--out", "whole", "--dry-run"],
        ["status", "whole"],
        ["check", *options],
        ["doctor"],
    ):
        said = in_a_terminal(monkeypatch, 60, lambda command=command: main(command))
        assert said
        for line in said.splitlines():  # a path may be longer, and stays whole
            assert cell_len(line) <= 60 or max(map(len, line.split())) > 40, line
