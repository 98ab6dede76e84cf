import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scored_runs import LOW, run

from clever_ext import CleverError, CleverResult, clever_score
from clever_ext.results.result import COLUMNS, make_table


@pytest.fixture
def result():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3).eval()
    x = torch.rand(3, 4)
    labels = (model(x).argmax(dim=1) + torch.tensor([0, 1, 0])) % 3
    return clever_score(
        model, x, norm=[1, 2], labels=labels, image_ids=[2**62, 5, -1], n_batches=4, batch_samples=2
    )


def test_a_round_trip_loses_nothing(result, tmp_path):
    result.save(tmp_path / "x.parquet")
    again = CleverResult.load(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(again.table, result.table)
    assert again.metadata == result.metadata
    for norm, scores in result.scores.items():
        np.testing.assert_array_equal(again.scores[norm], scores)
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_nan_stays_nan_and_missing_stays_missing(tmp_path):
    table = make_table({"image_id": [1], "label": [None], "score": [math.nan], "norm": [2.0]})
    CleverResult(table).save(tmp_path / "x.parquet")
    arrow = pq.read_table(tmp_path / "x.parquet")
    assert arrow.column("score").null_count == 0
    assert math.isnan(arrow.column("score")[0].as_py())
    assert arrow.column("label").null_count == 1
    assert math.isnan(CleverResult.load(tmp_path / "x.parquet").scores[2][0])


def test_the_file_is_plain_parquet_with_plain_json(result, tmp_path):
    result.save(tmp_path / "x.parquet")
    table = pd.read_parquet(tmp_path / "x.parquet")
    assert table.columns.tolist() == list(COLUMNS)
    text = pq.read_schema(tmp_path / "x.parquet").metadata[b"clever_ext"]

    def no_constant(name):
        raise AssertionError(f"{name} is not JSON")

    assert json.loads(text, parse_constant=no_constant)["settings"]["norms"] == ["1", "2"]


def test_smallest_names_the_deciding_rows(result):
    smallest = result.smallest()
    assert len(smallest) == 3 * 2
    for row in smallest:
        image = [2**62, 5, -1].index(row["image_id"])
        assert row["score"] == result.scores[row["norm"]][image]


def test_a_nan_score_decides():
    table = make_table(
        {"image_id": [1, 1], "norm": [2.0, 2.0], "target": [3, 4], "score": [0.1, math.nan]}
    )
    result = CleverResult(table)
    assert math.isnan(result.scores[2][0])
    assert result.smallest()[0]["target"] == 4


def test_images_without_rows_of_a_norm_have_no_score():
    table = make_table({"image_id": [1, 2], "norm": [2.0, math.nan], "score": [0.1, math.nan]})
    np.testing.assert_array_equal(CleverResult(table).scores[2], [0.1, math.nan])


def test_concatenate(result):
    joined = CleverResult.concatenate([result, result])
    assert len(joined.table) == 2 * len(result.table)
    assert joined.metadata == result.metadata


def test_concatenate_takes_settings_where_there_are_any_and_is_complete_with_all(result):
    error = CleverResult(make_table({"image_id": [9], "status": ["error"]}))
    cut = CleverResult(result.table, result.metadata | {"complete": False})
    assert CleverResult.concatenate([error, result]).metadata == result.metadata
    assert CleverResult.concatenate([result, cut]).metadata == cut.metadata
    assert CleverResult.concatenate([error, error]).metadata == {}


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(CleverError, match="cannot be read"):
        CleverResult.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(CleverError, match="cannot be read"):
        CleverResult.load(tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(CleverError, match="not a file of results"):
        CleverResult.load(tmp_path / "other.parquet")


def test_a_torn_file_is_refused(result, tmp_path):
    path = tmp_path / "x.parquet"
    result.save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CleverError, match="cannot be read"):
        CleverResult.load(path)


def test_a_result_says_in_a_few_lines_what_it_holds():
    result = run(LOW, "net", {"warnings": [{"said": "the labels are odd"}]})
    lines = repr(result).splitlines()
    assert lines[0] == f"CleverResult: {len(LOW)} images, scored by net"
    assert f"norm 2: mean score {np.mean(LOW):.4g} of {len(LOW)}" in lines[1]
    assert f"ok {len(LOW)}" in lines[2]
    assert lines[3].endswith("! the labels are odd")
    assert ".table" in lines[4]
    assert "0 images" in repr(CleverResult(result.table.iloc[:0]))
    nothing = run(LOW[:2], "net", score=[np.nan] * 2, status=["error"] * 2, norm=[np.nan] * 2)
    assert "error 2" in str(nothing)
