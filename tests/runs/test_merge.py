"""Shards, and the whole that they make."""

import pytest
from small_run import assert_same_bits

from clever_ext import CleverError
from clever_ext.data import open_images
from clever_ext.data.loading import Loader
from clever_ext.estimators.table import gradients_of_image
from clever_ext.runs.merge import merge
from clever_ext.runs.pieces import Pieces, piece_size


@pytest.fixture
def shards(small):
    for i in range(2):
        small.score(f"shard{i}", shard=(i, 2))
    small.runs = [small.path / "shard0", small.path / "shard1"]
    return small


def test_shards_make_the_run_of_one_process(shards):
    shards.score("whole")
    merge(shards.path / "merged", shards.runs)
    assert_same_bits(shards.table("whole"), shards.table("merged"))
    assert shards.folder("merged").read() | {"created": ""} == shards.folder("whole").read() | {
        "created": ""
    }
    assert shards.score("merged") == 0  # it is the run that the command without a shard makes


def test_holes_are_refused_unless_told_and_can_be_filled_later(shards):
    with pytest.raises(CleverError, match="no run has piece 1 of 3"):
        merge(shards.path / "merged", shards.runs[:1])
    assert not (shards.path / "merged").exists()
    merge(shards.path / "merged", shards.runs[:1], allow_holes=True)
    assert shards.score("merged") == 0
    shards.score("whole")
    assert_same_bits(shards.table("whole"), shards.table("merged"))


def test_overlap_is_refused_unless_told(shards):
    shards.score("whole")
    runs = [shards.path / "whole", *shards.runs]
    with pytest.raises(CleverError, match="several runs have pieces 0, 1, 2"):
        merge(shards.path / "merged", runs)
    merge(shards.path / "merged", runs, allow_overlap=True)
    assert_same_bits(shards.table("whole"), shards.table("merged"))


def test_runs_that_differ_and_folders_in_use_are_refused(shards):
    shards.score("other", shard=(1, 2), seed=1)
    with pytest.raises(CleverError, match=r"settings\.seed"):
        merge(shards.path / "merged", [shards.runs[0], shards.path / "other"])
    with pytest.raises(CleverError, match="holds a run already"):
        merge(shards.runs[0], shards.runs)
    with pytest.raises(CleverError, match="holds no run"):
        merge(shards.path / "merged", [shards.path / "nowhere"])


@pytest.mark.parametrize(("n_images", "size", "n"), [(10, 3, 1), (10, 3, 2), (1, 5, 3), (12, 4, 3)])
def test_every_picture_is_in_one_piece_of_one_shard(n_images, size, n):
    places = []
    for i in range(n):
        pieces = Pieces(n_images, size, (i, n))
        for number in pieces.numbers:
            places += list(pieces.places(number))
        assert Pieces.of({"pieces": pieces.to_json()}) == pieces
    assert sorted(places) == list(range(n_images))


def test_the_size_of_a_piece_goes_by_its_cost(small, monkeypatch):
    monkeypatch.setattr("clever_ext.runs.pieces._IMAGES", 1024)

    def size(**settings):
        scorer = small.scorer(**settings)
        with Loader(source := open_images(small.pictures), small.model.preprocessing, 0) as loader:
            subjects = scorer.look(scorer.first(source, loader))
        assert gradients_of_image(scorer.settings, 4) == 4 * 4 * scorer.settings.n_batches
        return piece_size(subjects, scorer.settings)

    assert size() == 1024
    assert size(n_batches=500) == 2**18 // (4 * 4 * 500)
    assert size(n_batches=10**5) == 1
    # A convolution of 27 products for 4 channels of 36 places, a layer of 144 times 5; two
    # operations each, three passes; and 20 for each of 192 elements.
    operations = 3 * 2 * (27 * 4 * 36 + 144 * 5) + 20 * 192
    monkeypatch.setattr("clever_ext.runs.pieces._OPERATIONS", {"cpu": 3 * operations * 16 * 6})
    assert size() == 3
