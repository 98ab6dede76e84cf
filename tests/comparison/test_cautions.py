"""What is not compared, and what is doubted: refusals, and cautions against a model's scores."""

import numpy as np
import pytest
from scored_runs import HIGH, LOW, SAME, flagged, only, run, searched

import clever_ext as cx
from clever_ext import CleverError, CleverResult

# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": None}, "clip is [0, 1] in a and None in b"),
        ({"targets": "all"}, "targets is 'top2' in a and 'all' in b"),
        ({"radii": [1.0]}, "the radius of norm 2 is 4.0 in a and 1.0 in b"),
        ({"radii": ["auto"]}, "the radius of norm 2"),
    ],
)
def test_scores_that_do_not_mean_the_same_are_refused(settings, message):
    with pytest.raises(CleverError) as error:
        cx.compare(run(LOW, "a"), run(HIGH, "b", settings=settings))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("other", "arguments", "message"),
    [
        (searched(HIGH, "b"), {}, "no estimator in common"),
        (searched(HIGH, "a"), {}, "runs of 1 model"),
        (run(HIGH, "b", norm=np.ones(60)), {}, "share no norm"),
        (run(HIGH, "b"), {"norm": "inf"}, "norm inf is not in every run"),
        (run(HIGH, "b"), {"norm": 0.5}, "no p-norm"),
        (run(HIGH, "b"), {"confidence": 95}, "confidence=95"),
        (
            run(HIGH, "b", image_id=np.arange(60) + 99),
            {},
            "no scored image in common (not among its pictures)",
        ),
        (CleverResult(run(HIGH, "b").table), {}, "tells no settings"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, arguments, message):
    with pytest.raises(CleverError) as error:
        cx.compare(run(LOW, "a"), other, **arguments)
    assert message in str(error.value)


# --- cautions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"flags": flagged(0.2, "plateau")}, "signs of gradient masking on 20%"),
        ({"flags": flagged(0.1, "zero-gradient")}, "signs of gradient masking on 10%"),
        ({"flags": flagged(0.3, "vanishing-gradients")}, "signs of gradient masking on 30%"),
        ({"margin": np.full(60, 0.9999)}, "100% of the margins are the same to a hundredth"),
        ({"nearest_flip": LOW * 0.5}, "100% of the scores exceed a flip"),
    ],
)
def test_undeserved_scores_cannot_win_but_can_lose(columns, words):
    row = only(cx.compare(run(LOW, "weak"), run(HIGH, "strong", **columns)))
    assert row["verdict"] == "cannot tell"
    assert words in row["reasons"][0]
    assert words in row["cautions"][0]
    lost = only(cx.compare(run(HIGH, "strong"), run(LOW, "weak", **columns)))
    assert lost["more_robust"] == "strong"
    assert words in lost["cautions"][0]
    equal = only(cx.compare(run(LOW, "a"), run(SAME, "b", **columns)))
    assert equal["verdict"] == "cannot tell"


def test_signs_of_masking_on_a_few_images_are_not_held_against_a_model():
    row = only(cx.compare(run(LOW, "a"), run(HIGH, "b", flags=flagged(0.05, "plateau"))))
    assert row["more_robust"] == "b"
    assert row["cautions"] == []


def test_capped_scores():
    capped = np.where(np.arange(60) < 36, 4.0, HIGH)
    both = only(cx.compare(run(np.where(capped == 4, 4, LOW), "a"), run(capped, "b")))
    assert both["verdict"] == "cannot tell"
    assert "radius is too small" in both["reasons"][0]
    # A score of R beats one below R whatever it would be in a larger ball.
    one = only(cx.compare(run(LOW, "a"), run(capped, "b")))
    assert one["more_robust"] == "b"
    assert "b: 60% of the scores are R" in one["cautions"][0]


def test_a_model_that_was_given_fewer_gradients_cannot_win():
    found = only(cx.compare(run(LOW, "a"), run(HIGH, "b", settings={"n_batches": 10})))
    assert found["verdict"] == "cannot tell"
    assert "b was scored with 80 gradients a row and a with 160" in found["reasons"][0]
    assert only(cx.compare(run(LOW, "a", settings={"n_batches": 10}), run(HIGH, "b")))[
        "more_robust"
    ]
    steep = only(cx.compare(searched(LOW, "a"), searched(HIGH, "b", max_gradients=50)))
    assert steep["verdict"] == "cannot tell"


@pytest.mark.parametrize(("side", "verdict"), [(9, "more robust"), (16, "cannot tell")])
def test_larger_pictures_alone_make_longer_distances(side, verdict):
    larger = run(HIGH, "b", settings={"shape": [1, side, side]})
    row = only(cx.compare(run(LOW, "a"), larger))
    assert row["verdict"] == verdict
    assert f"{side / 8:.3g} times as large" in row["cautions"][0]


@pytest.mark.parametrize(
    ("metadata", "settings", "words"),
    [
        ({"complete": False}, {}, "The run of b is not complete."),
        ({"model": {"name": "b", "digest": "a"}}, {}, "a and b have the same weights."),
        ({"preprocessing": {"image_size": 8, "resize": 8}}, {}, "Are both in the same units?"),
        ({}, {"dtype": "float16"}, "a: computed in float32; b: float16."),
    ],
)
def test_what_only_need_be_known(metadata, settings, words):
    row = only(cx.compare(run(LOW, "a"), run(HIGH, "b", metadata, settings)))
    assert row["more_robust"] == "b"
    assert words in row["cautions"][0]


def test_a_search_that_samples_outdo_is_told():
    a, b = searched(LOW, "a"), searched(HIGH, "b")
    sampled = [run(LOW, "a", max_norm=np.full(60, 1.0)), run(HIGH, "b", max_norm=np.full(60, 3.0))]
    for result in (a, b):
        result.table["lipschitz"] = 2.0
    found = cx.compare(a, sampled[0], b, sampled[1]).pairs.set_index("estimator")
    assert found.loc["clever", "cautions"] == []
    assert found.loc["steepest", "cautions"] == [
        "b: on 100% of the rows samples met a steeper place than the search: these scores are too "
        "high."
    ]
    assert cx.compare(a, b).pairs["cautions"][0] == []


def test_other_crops_and_fits_that_were_not_used_are_told():
    a, b = (
        run(x, n, {"preprocessing": {"image_size": 8, "resize": size}})
        for x, n, size in ((LOW, "a", 8), (HIGH, "b", 10))
    )
    b.table["status"] = "max-fallback"
    b.table["flags"] = "contradicted"
    cautions = " ".join(only(cx.compare(a, b))["cautions"])
    assert "a sees 100% of a picture's short side, b 80%" in cautions
    assert "b: 100% of the fits were not used" in cautions
    assert "b: 100% of the scores are contradicted" in cautions


def test_pictures_of_the_same_names_that_are_other_data():
    def of(digest, listing="l", way="contents", side=8):
        contents = {"of": way, "sha256": digest, "files": 1, "bytes": 8, "modified": 0}
        return {
            "data": {"listing_sha256": listing, "contents": contents},
            "preprocessing": {"image_size": side, "resize": side},
        }

    def cautions(b):
        row = only(cx.compare(run(LOW, "a", of("x")), run(HIGH, "b", b)))
        return row["verdict"], [text for text in row["cautions"] if "other data" in text]

    verdict, said = cautions(of("y", side=16))
    assert verdict == "cannot tell"
    assert said == ["The pictures of a and b have the same names, and are other data."]
    for same in (
        of("x", side=16),
        of("y"),  # fed alike: the rows tell
        of("y", side=16, listing="others"),
        of("y", side=16, way="names and sizes"),
        {},
    ):
        assert cautions(same)[1] == []


def test_pictures_seen_by_other_crop_modes_are_told():
    a, b = (
        run(x, n, {"preprocessing": {"image_size": 8, "resize": [9, 9], "crop_mode": mode}})
        for x, n, mode in ((LOW, "a", "squash"), (HIGH, "b", "border"))
    )
    cautions = " ".join(only(cx.compare(a, b))["cautions"])
    assert "a: squashed to 9 x 9 (bicubic)" in cautions
    assert "b: shape kept, to fit into 9 x 9" in cautions
