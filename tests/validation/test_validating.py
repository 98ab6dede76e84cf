"""`cx.validate`: runs, attacks and what is kept of them."""

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from small_run import SmallRun, assert_same_bits

import clever_ext as cx
from clever_ext import CleverError
from clever_ext.data import open_images
from clever_ext.validation import attacking, attacks
from clever_ext.validation.asked import ATTACKS
from clever_ext.validation.attacks import Attack, choose

HOW = {
    "attacks": ["FMN", "DDN", "boundary"],
    "attack_gradients": 20,
    "max_gradients": 20,
    "n_batches": 4,
    "batch_samples": 4,
    "device_batch": 2,
    "prepare": "none",
    "progress": False,
}
pytestmark = pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")


@pytest.fixture
def small(tmp_path):
    return SmallRun(tmp_path, n_images=4)


def validate(small, out="v", **how):
    return cx.validate(small.model, small.pictures, small.path / out, **{**HOW, **how})


@pytest.fixture
def calls(monkeypatch):
    """Names of the attacks that are run; a negative number of calls to come stops nothing."""
    made, ours = [], attacking.distances_of

    def counted(attack, *rest):
        made.append(attack.name)
        if len(made) == counted.stop_at:
            raise KeyboardInterrupt
        return ours(attack, *rest)

    counted.stop_at = -1
    monkeypatch.setattr(attacking, "distances_of", counted)
    return made, counted


def test_scores_attacks_and_files(small):
    found = validate(small, norm=[2, "inf"])
    assert len(found.table) == 8
    columns = "norm score pictures above near ratio low high spearman gradients"
    assert list(found.table) == columns.split()
    assert (found.table["pictures"] == 4).all()
    assert found.rows["attacked"].all()
    rows = found.rows
    assert (rows["lower"] <= rows["upper"]).all()
    own = [name for name in ("FMN", "DDN", "boundary") if name in rows]
    assert own == ["FMN", "DDN", "boundary"]
    known = rows[["upper", *own, "flips of other norms"]].min(axis=1)
    np.testing.assert_array_equal(rows["nearest"], known)
    assert rows.loc[rows["norm"] == math.inf, "DDN"].isna().all()
    kept = pd.read_parquet(small.path / "v" / "validation.parquet")
    np.testing.assert_array_equal(kept["nearest"], rows["nearest"])
    assert set(found.attacks["attack"]) == {"FMN", "DDN", "boundary"}
    assert found.findings == []


def test_each_run_is_that_of_score_run(small):
    validate(small, norm=[2, "inf"])
    common = {"norm": [2, "inf"], "targets": "top2", "device_batch": 2, "prepare": "none"}
    own = {"first-order": {}, "steepest": {"max_gradients": 20}}
    own["clever"] = {"n_batches": 4, "batch_samples": 4}
    for name, how in own.items():
        out = small.path / f"alone-{name}"
        cx.score_run(
            small.model, small.pictures, out, estimator=name, progress=False, **common, **how
        )
        both = (cx.load_run(each).table for each in (out, small.path / "v" / name))
        assert_same_bits(*both)


def test_finished_pieces_are_not_attacked_again(small, calls):
    made, counted = calls
    whole = validate(small, "whole")
    n = len(made)
    assert n == 6  # three attacks on two pieces
    counted.stop_at = n + 4
    with pytest.raises(KeyboardInterrupt):
        validate(small)
    counted.stop_at = -1
    made.clear()
    again = validate(small)
    assert len(made) == n - 3
    assert_same_bits(again.rows, whole.rows)
    made.clear()
    assert_same_bits(validate(small).rows, whole.rows)
    assert made == []
    validate(small, attacks=["FMN", "FMN-from-start"])  # another is added to what is there
    assert set(made) == {"FMN-from-start"}


def half(part):
    return part[:40]


def one_row_less(part):
    return json.dumps(_with(part, "distances", lambda known: {q: d[1:] for q, d in known.items()}))


def no_norm(part):
    return json.dumps(_with(part, "distances", lambda _: {}))


def no_number(part):
    return json.dumps(
        _with(part, "distances", lambda known: {q: [math.nan] * len(d) for q, d in known.items()})
    )


def _with(part, key, change):
    known = json.loads(part)
    return {**known, key: change(known[key])}


@pytest.mark.parametrize("damaged", [half, one_row_less, no_norm, no_number])
def test_a_damaged_part_is_made_again(small, calls, damaged):
    made, _ = calls
    whole = validate(small)
    [part] = (small.path / "v" / "attacks" / "parts").glob("DDN-l2-00001.json")
    part.write_text(damaged(part.read_text()))
    made.clear()
    assert_same_bits(validate(small).rows, whole.rows)
    assert made == ["DDN"]


@pytest.mark.parametrize("how", [{"attack_gradients": 30}, {"max_gradients": 30}, {"limit": 3}])
def test_another_validation_is_refused(small, how):
    validate(small)
    with pytest.raises(CleverError, match="made otherwise") as refused:
        validate(small, **how)
    assert "choose another out" in refused.value.fix


def test_another_model_is_refused(small):
    validate(small)
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5)).eval()
    model = cx.load_model(linear, image_size=8)
    with pytest.raises(CleverError, match="made otherwise"):
        cx.validate(model, small.pictures, small.path / "v", **HOW)


def test_another_version_of_a_library_is_refused(small, monkeypatch):
    validate(small)
    monkeypatch.setattr(attacks, "version", lambda _: "99")
    with pytest.raises(CleverError, match=r"library was foolbox .*, now it is foolbox 99"):
        validate(small)


def test_without_a_library_nothing_is_begun(small, monkeypatch):
    for library in attacks.LIBRARIES:
        monkeypatch.setitem(attacks.LIBRARIES, library, ("no_such_library_of_attacks",))
    with pytest.raises(CleverError, match=r"foolbox is not installed.*; adv-lib is not") as refused:
        validate(small, attacks=None)
    assert refused.value.fix == "pip install 'clever_ext[attacks]'"
    assert not (small.path / "v").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("attack_gradients", 0), ("max_gradients", 0), ("n_batches", 1), ("norm", 0.5), ("limit", 0)],
)
def test_unfit_settings_are_refused_before_any_work(small, name, value):
    with pytest.raises(CleverError):
        validate(small, **{name: value})
    assert not (small.path / "v").exists()


def test_a_library_that_cannot_be_imported_is_left_out_and_said(tmp_path, monkeypatch):
    (tmp_path / "broken_attacks.py").write_text("raise RuntimeError('no such device')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(attacks.LIBRARIES, "adv-lib", ("broken_attacks",))
    chosen = choose(None, [2.0])
    assert {each.library for each in chosen.attacks} == {"foolbox"}
    [finding] = chosen.findings
    assert "RuntimeError: no such device" in finding.said
    assert "PDPGD, FAB, APGD left out" in finding.said
    with pytest.raises(CleverError, match="adv-lib is installed and cannot be imported"):
        choose(["FMN", "APGD"], [2.0])  # what is asked for by name is not left out
    sys.modules.pop("broken_attacks", None)


def test_names_and_norms_of_attacks():
    assert [each.name for each in attacks.ATTACKS] == list(ATTACKS)
    with pytest.raises(CleverError, match="'fmn' is no attack") as refused:
        choose(["fmn"], [2.0])
    assert refused.value.fix == "write FMN"
    with pytest.raises(CleverError, match="no attack of EAD is of the norm 2 or inf"):
        choose(["EAD"], [2.0, math.inf])
    assert [each.name for each in choose(["EAD", "FMN", "FMN"], [1.0]).attacks] == ["EAD", "FMN"]


def only(monkeypatch, run, name="FMN"):
    """Make one attack of all."""
    monkeypatch.setattr(attacks, "ATTACKS", (Attack(name, "foolbox", (2.0,), run),))


def test_an_attack_that_raises_is_a_finding(small, monkeypatch):
    def run(*_):
        raise RuntimeError("no gradient\nhere")

    only(monkeypatch, run)
    found = validate(small, attacks=None)
    assert "FMN failed on 2 rows of p = 2 (RuntimeError: no gradient)" in found.findings[0].said
    assert len(found.findings) == 2
    np.testing.assert_array_equal(found.rows["nearest"], found.rows["upper"])
    assert found.attacks.empty
    only(monkeypatch, lambda work, *_: work.x)  # it is tried again
    assert validate(small, attacks=None).findings == []


def test_what_attacks_claim_is_not_believed(small, monkeypatch):
    lies = {
        "itself": lambda work, *_: work.x + 1e-7,  # a flip at no distance
        "nothing": lambda work, *_: torch.full_like(work.x, math.nan),
        "beyond": lambda work, *_: work.x + 1e9 * torch.randn_like(work.x),  # out of the box
        "shape": lambda work, *_: work.x[:1],
    }
    for name, run in lies.items():
        only(monkeypatch, run)
        found = validate(small, name, attacks=None)
        if name == "shape":
            assert "failed on 2 rows" in found.findings[0].said
        elif name == "beyond":  # measured at the nearest valid points
            far = found.rows["FMN"][np.isfinite(found.rows["FMN"])]
            assert (far <= math.sqrt(192)).all()
        else:
            assert np.isposinf(found.rows["FMN"]).all()
        assert (found.rows["nearest"] <= found.rows["upper"]).all()
        assert (found.rows["nearest"] >= found.rows["lower"]).all()


def test_the_model_and_the_process_stay_as_they_were(small):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    validate(small)
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002
    parameters = list(small.model.model.parameters())
    assert all(each.requires_grad and each.grad is None for each in parameters)


def test_left_out_pictures_and_few_of_them(small):
    source = open_images(small.pictures, label_pattern=r"_(\d)\.png")
    (small.pictures / "damaged_1.png").write_bytes(b"no picture")
    source = open_images(small.pictures, label_pattern=r"_(\d)\.png")
    found = cx.validate(small.model, source, small.path / "v", **HOW)
    right = int(found.rows["attacked"].sum())
    said = " ".join(found.words())
    assert f"too few pictures with a flip ({right})" in said
    assert f"{4 - right} misclassified and 1 without a score of 5 pictures" in said
    assert found.table["pictures"].eq(right).all()
    parts = (small.path / "v" / "attacks" / "parts").glob("FMN*.json")
    rows = sum(len(json.loads(part.read_text())["distances"]["2"]) for part in parts)
    assert rows == right


def test_several_targets_count_once_a_picture(small):
    found = validate(small, targets="all", attacks=["FMN"])
    assert len(found.rows) == 16
    assert found.table["pictures"].eq(4).all()
    pictures = found.pictures(2.0)
    expected = found.rows.groupby("image_id", sort=False)[["lower", "nearest"]].min()
    pd.testing.assert_frame_equal(pictures[["lower", "nearest"]], expected)


def test_a_norm_without_attacks_has_the_flips_of_others(small):
    found = validate(small, norm=[2, 3], attacks=["DDN"])
    rows = found.rows[found.rows["norm"] == 3]
    assert rows["DDN"].isna().all()
    assert np.isfinite(rows["flips of other norms"]).all()
    assert (rows["nearest"] <= rows["flips of other norms"]).all()
    with pytest.raises(CleverError, match="no attack"):
        validate(small, "w", norm=3)


def test_attacks_that_the_folder_keeps_count_too(small):
    first = validate(small, attacks=["DDN"])
    second = validate(small, attacks=["FMN"])
    assert set(second.attacks["attack"]) == {"DDN", "FMN"}
    assert first.rows["DDN"].equals(second.rows["DDN"])
    assert (second.rows["nearest"] <= first.rows["nearest"]).all()


def test_an_attack_may_write_into_what_it_is_given(small, monkeypatch):
    honest = validate(small, "honest", attacks=["FMN"]).rows

    def run(work, *_):
        for tensor in (work.x, work.starts):
            tensor.zero_()
        return work.x

    mean = Attack("DDN", "foolbox", (2.0,), run)
    [fmn] = [each for each in attacks.ATTACKS if each.name == "FMN"]
    monkeypatch.setattr(attacks, "ATTACKS", (mean, fmn))
    assert validate(small, "mean", attacks=None).rows["FMN"].equals(honest["FMN"])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_on_whatever_the_caller_has_set(small, mode):
    with mode():
        found = validate(small, attacks=["FMN"])
    assert found.findings == []
    assert np.isfinite(found.rows["FMN"]).any()
