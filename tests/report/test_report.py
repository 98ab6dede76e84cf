"""Reports of real runs, read back as a program or a browser would read them."""

import csv
import io
import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from reported import BROKEN, HOSTILE, make_pictures, make_run
from scored_runs import bracketed
from scored_runs import run as scored
from small_run import SmallRun

import clever_ext as cx
from clever_ext import CleverError, CleverResult
from clever_ext.cli import main
from clever_ext.report.compared import compared
from clever_ext.report.figures import rounded
from clever_ext.report.flips import _factor
from clever_ext.report.page import MOST_ROWS, MOST_THUMBNAILS
from clever_ext.report.reading import read_runs
from clever_ext.report.selection import pick_images
from clever_ext.report.summary import facts, mean_interval, summarise
from clever_ext.report.writing import FORMATS
from clever_ext.results import glossary
from clever_ext.results.result import COLUMNS, make_table


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    make_pictures(folder / "pictures")
    for seed in (0, 1):
        make_run(folder / "pictures", seed).save(folder / f"run{seed}.parquet")
    return folder


@pytest.fixture(scope="module")
def run(place):
    return cx.CleverResult.load(place / "run0.parquet")


def data_of(page):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    return json.loads(text)


def test_the_summary_counts_each_image_once(run):
    summary = summarise(run)
    assert (summary.images, summary.scored) == (22, 20)
    assert (summary.misclassified, summary.errors) == (1, 1)
    assert summary.accuracy == 20 / 21
    assert summary.statuses["misclassified"] == 2
    assert summary.statuses["error"] == 1
    for own in summary.norms:
        scores = run.scores[own.norm]
        scores = scores[~np.isnan(scores)]
        assert own.images == len(scores) == 21
        assert own.mean == scores.mean()
        assert own.median == np.median(scores)
        assert own.mean_low < own.mean < own.mean_high
        assert own.capped == (scores == {2: 4, np.inf: 0.3}[own.norm]).sum() / 20


def test_the_interval_of_a_mean_covers_it():
    random = np.random.default_rng(1)
    covered = 0
    for n in range(200):
        low, high = mean_interval(random.exponential(size=60), seed=n)
        covered += low < 1 < high
    assert 0.87 <= covered / 200 <= 0.99  # 95 %, less a little for 60 skewed values


def test_settings_are_told_in_words(run):
    said = facts(run)
    assert said["model"] == "digits-0"
    assert said["norms"] == "p = 2, p = inf"
    assert said["radii"] == "4, 0.3"
    assert said["gradients of a row"] == "16 batches of 3 samples"
    assert "torch" in said["versions"]
    assert "complete" not in said
    stopped = CleverResult(run.table, run.metadata | {"complete": False})
    assert facts(stopped)["complete"] == "no: the run was stopped"
    assert facts(CleverResult(run.table)) == {}


def test_csv_holds_every_row_and_no_lists(place, capsys):
    files = [str(place / f"run{seed}.parquet") for seed in (0, 1)]
    assert main(["report", *files, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    tables = [CleverResult.load(file).table for file in files]
    assert len(rows) == sum(map(len, tables))
    assert {row["run"] for row in rows} == {"digits-0", "digits-1"}
    lists = {name for name, kind in COLUMNS.items() if kind == "floats"}
    assert set(rows[0]) == {"run", *COLUMNS} - lists
    scores = [float(row["score"] or "nan") for row in rows]
    np.testing.assert_array_equal(scores, np.concatenate([table["score"] for table in tables]))


def test_json_is_strict_and_holds_all_but_maxima(place, run):
    files = [place / f"run{seed}.parquet" for seed in (0, 1)]
    cx.write_report(files, place / "report.json", format="json")

    def no_constant(name):
        raise AssertionError(f"{name} is not JSON")

    report = json.loads((place / "report.json").read_text(), parse_constant=no_constant)
    first = report["runs"][0]
    assert first["name"] == "digits-0"
    assert first["metadata"]["settings"]["norms"] == ["2", "inf"]
    assert first["summary"]["norms"][0]["norm"] == 2.0
    assert len(first["rows"]) == len(run.table)
    assert set(first["rows"][0]) == set(COLUMNS) - {"maxima", "witness", "steepest"}
    assert {row["norm"] for row in first["rows"]} == {2.0, "inf", None}
    assert first["rows"][-1]["score"] is None
    assert {pair["norm"] for pair in report["comparison"]["pairs"]} == {"2", "inf"}


def test_markdown_is_short_and_safe(place):
    cx.write_report(place / "run0.parquet", place / "report.md", format="md")
    text = (place / "report.md").read_text()
    assert "22 images: 20 scored, 1 misclassified, 1 with errors. Accuracy: 95.2%." in text
    assert "<img" not in text
    assert "&lt;img src=x" in text
    assert glossary.STATUSES["misclassified"] in text
    assert len(text.splitlines()) < 90
    assert all(line.count(" | ") == 1 for line in text.splitlines() if line.startswith("| `"))


def test_names_of_pictures_are_text(place, run):
    hostile = run.metadata | {
        "model": {"name": "</script><script>alert(2)</script>"},
        "class_names": ["<b>zero</b>", *["</script>"] * 9],
    }
    cx.write_report(CleverResult(run.table, hostile), place / "report.html")
    page = (place / "report.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; &#34;quoted&#34;_5.png" in page
    assert "alert(2)</script>" not in page
    assert "<b>zero" not in page
    assert page.count("</script>") == 5  # the data and four scripts


def test_the_page_has_a_thumbnail_and_a_fit_for_each_row(place, run):
    cx.write_report(place / "run0.parquet", place / "report.html")
    page = (place / "report.html").read_text()
    data = data_of(page)
    rows = run.decisive()
    assert len(data["rows"]) == len(rows)
    assert len(data["pictures"]) == 21
    assert all(uri.startswith("data:image/webp;base64,") for uri in data["pictures"].values())
    assert "Pictures without a thumbnail: 1." in page
    for drawn, (_, row) in zip(data["rows"], rows.iterrows(), strict=True):
        assert ("fit" in drawn) == (len(row["maxima"]) > 0)
        if "fit" in drawn:
            assert sum(drawn["fit"]["counts"]) == 16
            assert ("density" in drawn["fit"]) == (row["status"] == "ok")
            location = drawn["fit"]["location"]
            assert location == pytest.approx(row["lipschitz"], abs=2e-3 * np.ptp(row["maxima"]))
    error = next(row for row in data["rows"] if row["facts"][0][0] == "error")
    assert error["facts"][0][1] == "it cannot be decoded"
    assert len(page) < 2e6


@pytest.mark.parametrize("lost", ["folder", "metadata", "unwanted"])
def test_a_page_without_pictures(place, run, lost, tmp_path):
    metadata, wanted = dict(run.metadata), lost != "unwanted"
    if lost == "folder":
        metadata["data"] = {"arguments": {"path": str(tmp_path / "gone")}}
    elif lost == "metadata":
        del metadata["data"]
    cx.write_report(CleverResult(run.table, metadata), tmp_path / "report.html", images=wanted)
    page = (tmp_path / "report.html").read_text()
    assert data_of(page)["pictures"] == {}
    assert ("No thumbnails: " in page) == wanted
    assert place.exists()


def test_the_steepest_estimator_shows_its_search(place, tmp_path):
    result = make_run(place / "pictures", 0, 5, estimator="steepest", max_gradients=40)
    cx.write_report([result, place / "run0.parquet"], tmp_path / "report.html", images=False)
    data = data_of((tmp_path / "report.html").read_text())
    searches = [row["search"] for row in data["rows"] if "search" in row]
    assert len(searches) == 8
    for search in searches:
        assert search["gradients"] == sorted(search["gradients"])
        assert search["steepest"] == sorted(search["steepest"])
    assert data["runs"] == ["digits-0 (steepest)", "digits-0 (clever)"]


def test_brackets_show_both_ends_and_their_nearest_flips(place, tmp_path):
    result = make_run(
        place / "pictures", 0, 4, estimator="steepest", radius="auto", max_gradients=40,
        keep_witness=True, targets="top-3",
    )  # fmt: skip
    result.save(tmp_path / "run.parquet")
    cx.write_report(tmp_path / "run.parquet", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    data = data_of(page)
    for own in data["norms"]:
        (series,) = own["series"]
        assert len(series["eps"]) == len(series["share"]) == len(series["upper"])
        assert all(u >= s for s, u in zip(series["share"], series["upper"], strict=True))
        assert series["upper"][-1] == 0
    decides = result.decisive().reset_index(drop=True)
    drawn = [row.get("flip") for row in data["rows"]]
    for row, flip in zip(decides.itertuples(), drawn, strict=True):
        if row.status in ("error", "misclassified"):
            assert flip is None
            continue
        mine = result.table[
            (result.table["image_id"] == row.image_id) & (result.table["norm"] == row.norm)
        ]
        nearest = mine.loc[mine["nearest_flip"].idxmin()]  # which may be another target's
        assert flip["distance"] == f"{nearest['nearest_flip']:.4g}"
        assert flip["target"] == f"digit {nearest['target']}"
        assert flip["predicted"] == f"digit {row.predicted}"
        assert float(flip["factor"]) > 0
        assert {"picture", "flip", "difference"} <= set(flip)
        said = dict(next(r["facts"] for r in data["rows"] if r.get("flip") is flip))
        assert said["upper end"] == flip["distance"]
    assert sum(flip is not None for flip in drawn) >= 6
    assert "upper end, median" in page
    cx.write_report(tmp_path / "run.parquet", tmp_path / "plain.html", images=False)
    assert not any("flip" in row for row in data_of((tmp_path / "plain.html").read_text())["rows"])
    cx.write_report(tmp_path / "run.parquet", tmp_path / "run.md", format="md")
    assert "| lower end | upper end |" in (tmp_path / "run.md").read_text()
    cx.write_report(tmp_path / "run.parquet", tmp_path / "run.json", format="json")
    run = json.loads((tmp_path / "run.json").read_text())["runs"][0]
    assert not {"witness", "steepest"} & set(run["rows"][0])
    assert run["summary"]["norms"][0]["no_flip"] == 0


def test_a_flip_whose_picture_is_gone_stands_alone(place, tmp_path):
    result = make_run(
        place / "pictures", 0, 4, estimator="steepest", radius="auto", max_gradients=40,
        keep_witness=True,
    )  # fmt: skip
    metadata = {name: value for name, value in result.metadata.items() if name != "data"}
    cx.write_report(CleverResult(result.table, metadata), tmp_path / "report.html")
    flips = [
        row["flip"]
        for row in data_of((tmp_path / "report.html").read_text())["rows"]
        if "flip" in row
    ]
    assert flips
    assert all("flip" in flip and "difference" not in flip for flip in flips)


def test_brackets_stand_beside_runs_of_other_estimators(tmp_path):
    lower = np.linspace(0.1, 1, 12)
    capped = lower > 0.5
    runs = [bracketed(lower, 2 * lower, "net", capped=capped), scored(lower * 1.1, "net")]
    cx.write_report(runs, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    first, second = data_of(page)["norms"][0]["series"]
    assert "upper" in first
    assert "upper" not in second
    assert "score (95 %), lower end" in page
    assert "No slope was found there" in page
    assert "It was too small" not in page
    assert page.count("(no slope)") == 7
    cx.write_report(runs, tmp_path / "report.md", format="md")
    assert "upper end, median" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("size", [1e-5, 0.003, 0.2, 0.25, 0.5, 1.0])
def test_a_difference_is_amplified_by_a_round_factor_that_fits(size):
    difference = np.zeros((1, 100, 100), dtype=np.float32)
    difference[0, :50] = np.random.default_rng(0).uniform(-size, size, (50, 100))
    alike = _factor(difference)
    largest = alike * np.quantile(np.abs(difference[0, :50]), 0.98)
    assert 0.5 / 2.51 < largest <= 0.5 * (1 + 1e-6)
    assert f"{alike:.0e}"[0] in "125"
    difference[0, :2, :2] = 30 * size  # a few pixels far beyond do not make the others grey
    assert _factor(difference) == alike
    assert _factor(np.zeros(4)) == 1


def test_runs_are_named_apart(place, run):
    paths = [place / "run0.parquet", place / "run1.parquet"]
    assert [each.name for each in read_runs(paths)] == ["digits-0", "digits-1"]
    assert [each.name for each in read_runs([run, run])] == ["digits-0", "digits-0 #2"]
    same = CleverResult(CleverResult.load(paths[1]).table, run.metadata)
    same.save(place / "again.parquet")
    names = [each.name for each in read_runs([paths[0], place / "again.parquet"])]
    assert names == ["digits-0 (run0)", "digits-0 (again)"]
    assert [each.name for each in read_runs(CleverResult(run.table))] == ["run"]


@pytest.mark.parametrize(
    ("runs", "format", "path", "message"),
    [
        ([], "html", "r.html", "there is no run"),
        ("nowhere", "html", "r.html", "nowhere"),
        ("nowhere.parquet", "html", "r.html", "cannot be read"),
        (CleverResult(make_table({"image_id": []})), "html", "r.html", "has no rows"),
        (None, "pdf", "r.pdf", "'pdf' is unknown"),
        (None, "html", "no/such/folder/r.html", "cannot be written"),
    ],
)
def test_bad_input(run, tmp_path, runs, format, path, message):
    with pytest.raises(CleverError, match=message):
        cx.write_report(run if runs is None else runs, tmp_path / path, format=format)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_page(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(place / "run0.parquet"), "--no-images"]) == 0
    assert "Report: report.html" in capsys.readouterr().err
    assert data_of((tmp_path / "report.html").read_text())["pictures"] == {}
    assert main(["report", "nowhere"]) == 2
    assert "Expected:" in capsys.readouterr().err


def test_a_run_folder_with_several_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("clever_ext.runs.pieces._IMAGES", 2)
    small = SmallRun(tmp_path, 6)
    assert small.score("run") == 0
    folder = small.folder("run")
    assert len(folder.finished()) > 1
    (run,) = read_runs(tmp_path / "run")
    assert run.parts == tuple(folder.finished().values())
    assert all(len(maxima) == 0 for maxima in run.result.table["maxima"])
    images = set(run.result.table["image_id"].unique()[:4])
    rows, expected = run.decisive(images), folder.load().decisive()
    expected = expected[expected["image_id"].isin(images)].reset_index(drop=True)
    assert rows["image_id"].tolist() == expected["image_id"].tolist()
    assert [len(maxima) for maxima in rows["maxima"]] == [6] * len(rows)
    cx.write_report(tmp_path / "run", tmp_path / "report.html")
    data = data_of((tmp_path / "report.html").read_text())
    assert len(data["pictures"]) == 6
    assert sum("fit" in row for row in data["rows"]) >= 1


def test_several_runs_are_compared(place, tmp_path):
    files = [place / "run0.parquet", place / "run1.parquet"]
    cx.write_report(files, tmp_path / "report.html", images=False)
    page = (tmp_path / "report.html").read_text()
    assert "<h3>Verdict</h3>" in page
    expected = cx.compare(*files).pairs
    found = compared(read_runs(files))
    assert found.data["names"] == ["digits-0", "digits-1"]
    assert [pair["difference"] for pair in found.data["pairs"]] == expected["difference"].tolist()
    # Runs that cannot be compared can be shown.
    silent = CleverResult(CleverResult.load(files[1]).table)
    cx.write_report([files[0], silent], tmp_path / "apart.html", images=False)
    assert "<h3>Not compared</h3>" in (tmp_path / "apart.html").read_text()
    assert compared(read_runs(files[:1])) is None


def many(n, maxima):
    """A run of many images: real fits of drawn maxima, three norms."""
    random = np.random.default_rng(0)
    drawn = 10 - random.weibull(3.0, size=(3 * n, maxima))
    fit = cx.fit_reverse_weibull(drawn)
    margin = np.repeat(random.gamma(4.0, size=n), 3)
    rows = {
        "image_id": np.repeat(np.arange(n), 3),
        "image": [f"{number:05d}.jpg" for number in np.repeat(np.arange(n), 3)],
        "predicted": np.zeros(3 * n, dtype=int),
        "target": np.ones(3 * n, dtype=int),
        "norm": np.tile([1.0, 2.0, np.inf], n),
        "radius": np.full(3 * n, 5.0),
        "margin": margin,
        "lipschitz": fit.location,
        "score": margin / fit.location,
        "score_low": margin / fit.ci_high,
        "score_high": margin / fit.ci_low,
        "max_norm": drawn.max(axis=1),
        "shape": fit.shape,
        "scale": fit.scale,
        "status": fit.status.astype(object),
        "estimator": ["clever"] * (3 * n),
        "n_batches": np.full(3 * n, maxima),
        "batch_samples": np.full(3 * n, 1024),
        "n_gradients": np.full(3 * n, maxima * 1024),
        "maxima": list(drawn),
    }
    return CleverResult(make_table(rows))


def test_five_hundred_images_stay_below_15_megabytes(tmp_path):
    # Crops of photographs, at the size of thumbnails: what a thumbnail of one takes.
    from PIL import Image

    from clever_ext.data import open_images, package_folder

    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    shipped = sorted((package_folder("foolbox") / "data").glob("imagenet_*.jpg"))
    photographs = [Image.open(file) for file in shipped]
    for n in range(MOST_THUMBNAILS):
        photograph = photographs[n % 20]
        left, top = (int(random.integers(0, side - 128)) for side in photograph.size)
        photograph.crop((left, top, left + 128, top + 128)).save(folder / f"{n:05d}.jpg")
    result = many(MOST_THUMBNAILS, maxima=100)
    records = open_images(str(folder))
    numbers = [record.image_id for record in records]
    table = result.table.assign(image_id=np.repeat(numbers, 3))
    metadata = {
        "data": {"arguments": records.arguments},
        "preprocessing": {"image_size": 224, "resize": 224, "interpolation": "bicubic"},
    }
    cx.write_report(CleverResult(table, metadata), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert len(data_of(page)["pictures"]) == MOST_THUMBNAILS
    assert len(data_of(page)["rows"]) == 3 * MOST_THUMBNAILS
    assert len(page.encode()) < 15e6


def test_a_large_run_shows_some_rows_and_says_so(tmp_path):
    result = many(800, maxima=20)
    cx.write_report(result, tmp_path / "report.html", images=False)
    page = (tmp_path / "report.html").read_text()
    assert len(data_of(page)["rows"]) == MOST_ROWS // 3 * 3
    assert "The table shows 1,998 of 2,400 rows: 666 images" in page
    cx.write_report(result, tmp_path / "report.csv", format="csv")
    assert len((tmp_path / "report.csv").read_text().splitlines()) == 2401


def test_images_are_picked_for_small_scores_and_evenly():
    table = many(100, maxima=10).table
    of_norm = table[table["norm"] == 2.0]
    chosen = set(pick_images([of_norm], 20))
    assert len(chosen) == 20
    ordered = of_norm.sort_values("score")["image_id"].tolist()
    assert chosen >= set(ordered[:10])
    assert ordered[-1] in chosen
    assert len(pick_images([of_norm], 100)) == len(pick_images([of_norm], 1000)) == 100
    lost = of_norm.assign(status="error", score=np.nan)
    assert len(pick_images([lost], 20)) == 20


def test_rounding_keeps_a_thousandth_of_the_picture():
    values = np.array([1000.123456, 1000.123987])
    span = float(np.ptp(values))
    np.testing.assert_allclose(rounded(values, span), values, atol=span / 1000)
    assert rounded([1.0, 1.0], 0.0) == [1.0, 1.0]
    assert len(json.dumps(rounded([1 / 3], 1.0))) <= 7


def test_the_libraries_are_those_that_were_released():
    # Unmodified files, as the README beside them says.
    from hashlib import sha256
    from importlib.resources import files

    vendor = files("clever_ext.report") / "assets" / "vendor"
    told = dict(re.findall(r"`(\S+\.js)`.*`([0-9a-f]{64})`", (vendor / "README.md").read_text()))
    assert len(told) == 2
    for name, digest in told.items():
        assert sha256((vendor / name).read_bytes()).hexdigest() == digest
        assert b"</script" not in (vendor / name).read_bytes()


def test_every_status_and_flag_is_explained():
    from pathlib import Path

    words = {*glossary.STATUSES, *glossary.FLAGS}
    assert all(glossary.explain(word).endswith(".") for word in words)
    assert glossary.explain("no word") == ""
    method = (Path(__file__).parents[2] / "docs" / "concepts" / "method.md").read_text()
    section = method[method.index("## Status and flags") :]
    told = set(re.findall(r"`([a-z]+(?:-[a-z]+)*)`", section))
    assert set(glossary.STATUSES) <= told
    assert {"far-location", "contradicted", "eliminated", "stopped-at-limit"} <= told & words


def test_jinja_and_pandas_are_loaded_late():
    import subprocess

    code = "import sys, clever_ext; print({'jinja2', 'pandas', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_broken_and_hostile_pictures_are_rows(run):
    assert {BROKEN, HOSTILE} <= set(run.table["image"])
    assert torch.is_grad_enabled()


WARNING = {"topic": "labels", "said": "all labels are <0>", "fix": "give --labels"}


@pytest.mark.parametrize("format", ["md", "html", "json"])
def test_warnings_are_shown(run, tmp_path, format):
    cx.write_report(run, tmp_path / "well", format, images=False)
    assert "Warnings" not in (tmp_path / "well").read_text()
    warned = CleverResult(run.table, run.metadata | {"warnings": [WARNING]})
    cx.write_report(warned, tmp_path / "warned", format, images=False)
    text = (tmp_path / "warned").read_text()
    said = "all labels are <0>" if format == "json" else "all labels are &lt;0"
    assert said in text
    assert ("Warnings" in text) == (format != "json")
    assert "Fix: give --labels." in text


@pytest.mark.parametrize("format", FORMATS)
def test_two_runs_without_labels_are_reported(run, tmp_path, format):
    runs = [
        CleverResult(run.table.assign(label=pd.array([None] * len(run.table), dtype="Int64")),
                     run.metadata | {"model": {"name": name, "digest": name}})
        for name in ("a", "b")
    ]  # fmt: skip
    cx.write_report(runs, tmp_path / "report", format, images=False)
    text = (tmp_path / "report").read_text()
    if format in ("md", "html"):
        assert "o labels" in text
        assert "misclassified, " not in text


def test_a_spreadsheet_finds_no_formula(capsys, tmp_path):
    names = ["=cmd|'/c calc'!A1", "+1+1", "-2", "@SUM(A1)", "\tx", "a=b", "", "a", "b", "c"]
    result = scored(np.linspace(0.1, 1, 10), "=HYPERLINK(1)", image=names)
    result.table["margin"] = -1.5
    result.save(tmp_path / "run.parquet")
    assert main(["report", str(tmp_path / "run.parquet"), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["image"] for row in rows] == [f"'{name}" for name in names[:5]] + names[5:]
    assert {row["run"] for row in rows} == {"'=HYPERLINK(1)"}
    assert {row["margin"] for row in rows} == {"-1.5"}
