"""What benchmarks/tables.py makes of a result file, in each of its forms."""

import json
import re

import pytest
import tables

FIGURES = [
    {
        "figure": "sampling, plain torch / ours",
        "case": "p = 2",
        "target": 4,
        "ratio": {"median": 4.912, "min": 4.7, "max": 1234.5},
    },
    {
        "figure": "seconds",
        "case": "p = 2",
        "target": 2,
        "at_most": True,
        "ratio": {"median": 0.5, "min": 0.25, "max": 1.0},
    },
    {
        "figure": "intervals that hold the reference",
        "case": "p = inf",
        "target": None,
        "ratio": {"median": 0.95, "min": 0.95, "max": 0.95},
        "share": [19, 20],
    },
    {
        "figure": "norm",
        "case": "tiny",
        "target": None,
        "ratio": {"median": 0.1, "min": 0.05, "max": 0.2},
        "floor_us": 1.5,
        "ours_us": 15.0,
    },
]
RESULT = {
    "command": "python it.py",
    "date": "2026-01-02",
    "device": "a processor",
    "versions": {"torch": "2.11.0"},
    "figures": FIGURES,
}
ABOUT = {
    **{key: RESULT[key] for key in ("command", "date", "versions")},
    "device": "GPU 1",
    "gpu": "GPU 1",
}


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    (tmp_path / "it.json").write_text(json.dumps(RESULT))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)


def test_table_has_targets_and_where_it_was_measured():
    assert tables.renewed("<!-- table it.json: seconds|sampling|hold -->old<!-- end -->\n") == (
        "<!-- table it.json: seconds|sampling|hold -->\n"
        "| figure | case | median (range) | at least |\n"
        "| --- | --- | --- | --- |\n"
        "| sampling, plain torch / ours | p = 2 | 4.91 (4.7 to 1,234) | 4 |\n"
        "| seconds | p = 2 | 0.5 (0.25 to 1) | at most 2 |\n"
        "| intervals that hold the reference | p = inf | 95 % (19 of 20) |  |\n"
        "\n"
        "*a processor; torch 2.11.0; 2026-01-02; `python it.py`.*\n"
        "<!-- end -->\n"
    )


def test_table_of_floors_has_times():
    made = tables.renewed("<!-- table it.json: ^norm -->\n<!-- end -->")
    assert "| norm | tiny | 1.5 | 15 | 0.1 (0.05 to 0.2) |\n" in made


def test_speed_has_figure_case_and_ratio_alone():
    assert tables.renewed("<!-- speed it.json: p = 2$ -->\nold\n<!-- end -->") == (
        "<!-- speed it.json: p = 2$ -->\n"
        "| figure | case | ratio (range) |\n"
        "| --- | --- | --- |\n"
        "| sampling, plain torch / ours | p = 2 | 4.91 (4.7 to 1,234) |\n"
        "| seconds | p = 2 | 0.5 (0.25 to 1) |\n"
        "<!-- end -->"
    )


def test_grid_has_a_row_for_each_case_and_missed_targets_are_bold():
    assert tables.renewed("<!-- grid it.json: seconds|sampling|hold -->\nold\n<!-- end -->") == (
        "<!-- grid it.json: seconds|sampling|hold -->\n"
        "| case | sampling, plain torch / ours | seconds | intervals that hold the reference |\n"
        "| --- | --- | --- | --- |\n"
        "| p = 2 | 4.91 | 0.5 |  |\n"
        "| p = inf |  |  | 95 % |\n"
        "<!-- end -->"
    )
    slow = {**RESULT, "figures": [{**FIGURES[0], "target": 5}]}
    (tables.RESULTS / "slow.json").write_text(json.dumps(slow))
    assert "| p = 2 | **4.91** |\n" in tables.renewed("<!-- grid slow.json -->\n<!-- end -->")


def test_values_stand_in_a_line():
    text = (
        "It is <!-- value it.json: ^sampling -->?<!-- end --> times as fast; "
        "<!-- value it.json: hold --><!-- end --> hold."
    )
    made = tables.renewed(text)
    assert made == text.replace("?", "4.91").replace("hold --><", "hold -->95 %<")
    assert tables.renewed(made) == made


@pytest.mark.parametrize("pattern", ["p = 2", "nothing of that name"])
def test_a_value_is_of_one_figure(pattern):
    with pytest.raises(SystemExit, match="figures that match"):
        tables.renewed(f"<!-- value it.json: {pattern} -->1<!-- end -->")


def test_a_table_has_a_figure():
    with pytest.raises(SystemExit, match="has 0 figures"):
        tables.renewed("<!-- table it.json: nothing of that name -->\n<!-- end -->")


@pytest.mark.parametrize("form", ["table", "speed", "grid"])
def test_what_nobody_measured_says_so(form):
    """A file of lines grows as figures are measured, and may not be there yet."""
    quoted = f"<!-- {form} gpu.jsonl: p = 2 -->\nNot measured.\n<!-- end -->"
    assert tables.renewed(quoted) == quoted
    told = [{"about": ABOUT}, {**FIGURES[0], "case": "p = 1"}]
    (tables.RESULTS / "gpu.jsonl").write_text("\n".join(map(json.dumps, told)))
    assert tables.renewed(quoted) == quoted
    assert tables.renewed("<!-- value gpu.jsonl: p = 2 -->1<!-- end -->") == (
        "<!-- value gpu.jsonl: p = 2 -->not measured<!-- end -->"
    )


def test_a_file_of_lines_is_a_result():
    """What a trial was on comes first; a figure that was measured again counts."""
    again = {**FIGURES[0], "ratio": {"median": 5.5, "min": 5, "max": 6}}
    later = {**ABOUT, "date": "2026-02-03"}
    told = [{"about": ABOUT}, FIGURES[0], {"step": "build"}, {"about": later}, again, FIGURES[1]]
    text = "".join(json.dumps(line) + "\n" for line in told) + '{"figure": "to'
    (tables.RESULTS / "gpu.jsonl").write_text(text)
    assert tables.renewed("<!-- table gpu.jsonl -->\n<!-- end -->") == (
        "<!-- table gpu.jsonl -->\n"
        "| figure | case | median (range) | at least |\n"
        "| --- | --- | --- | --- |\n"
        "| sampling, plain torch / ours | p = 2 | 5.5 (5 to 6) | 4 |\n"
        "| seconds | p = 2 | 0.5 (0.25 to 1) | at most 2 |\n"
        "\n"
        "*GPU 1; torch 2.11.0; 2026-01-02; `python it.py`.*\n"
        "<!-- end -->"
    )
    made = tables.renewed("<!-- grid gpu.jsonl: seconds -->\n<!-- end -->")
    assert made.endswith(
        "| p = 2 | 0.5 |\n\n*GPU 1; torch 2.11.0; 2026-01-02; `python it.py`.*\n<!-- end -->"
    )


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        ([], "no line that tells where"),
        (["GPU 1", "GPU 2"], "lines of GPU 1, GPU 2; it must be of one GPU alone"),
        (["GPU 1", None], "lines of GPU 1, no GPU"),
        ([None], "lines of no GPU"),
    ],
)
def test_lines_are_of_one_gpu(gpus, message):
    told = [*({"about": {**ABOUT, "gpu": gpu}} for gpu in gpus), FIGURES[0]]
    (tables.RESULTS / "gpu.jsonl").write_text("\n".join(map(json.dumps, told)))
    with pytest.raises(SystemExit, match=message):
        tables.renewed("<!-- table gpu.jsonl -->\n<!-- end -->")


def test_a_missing_result_is_no_gap():
    with pytest.raises(FileNotFoundError):
        tables.renewed("<!-- table nothing.json -->\n<!-- end -->")


def test_no_line_of_a_page_begins_with_a_value():
    """Markdown would take the comment for a block of HTML, and end the paragraph before it."""
    for page in tables.pages():
        assert not re.search(r"^<!-- value ", page.read_text(), re.MULTILINE), page
