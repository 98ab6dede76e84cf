"""What becomes of a run whose pictures with errors are scored again."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_run import assert_same_bits

import clever_ext.runs.changed_pictures
from clever_ext import CleverError
from clever_ext.checks.run import look_at_run
from clever_ext.data import open_images
from clever_ext.runs.loop import score_pieces
from clever_ext.runs.ranks import Alone

BROKEN, NEIGHBOUR, FAR = "p0002_2.png", "p0003_3.png", "p0000_0.png"


@pytest.fixture
def broken(small):
    """A run of which one picture could not be read; it stays as it was."""
    small.score("whole")
    picture = small.pictures / BROKEN
    small.good = picture.read_bytes()
    picture.write_bytes(small.good[:40])
    small.score("run")
    return small


def mend(small):
    (small.pictures / BROKEN).write_bytes(small.good)


def rows(small, name):  # noqa: ARG001 - the query names it
    return small.table("run").query("image == @name").reset_index(drop=True)


def test_a_scored_picture_that_has_become_unreadable_keeps_its_rows(broken):
    before = rows(broken, NEIGHBOUR)
    (broken.pictures / NEIGHBOUR).write_bytes(b"nothing")
    broken.score("run", retry_errors=True)  # nothing is mended, and nothing lost
    assert_same_bits(before, rows(broken, NEIGHBOUR))
    mend(broken)
    broken.score("run", retry_errors=True)
    # To rounding: the two were not scored together.
    pd.testing.assert_frame_equal(broken.table("whole"), broken.table("run"), rtol=1e-4)
    pieces = [json.loads(line) for line in broken.folder("run").log.read_text().splitlines()]
    kept = [each["kept"] for each in pieces if "kept" in each]
    assert kept == [[int(before["image_id"][0])]] * 2


def test_a_mended_run_goes_on_without_more_ado(broken):
    mend(broken)
    with pytest.raises(CleverError, match="had errors were mended, give --retry-errors"):
        broken.score("run")
    broken.score("run", retry_errors=True)
    assert_same_bits(broken.table("whole"), broken.table("run"))
    broken.score("run")
    broken.folder("run").description_file.unlink()
    broken.score("run")  # the newest part tells how the pictures are
    (broken.pictures / BROKEN).write_bytes(broken.good + b"more")
    with pytest.raises(CleverError, match="other data"):
        broken.score("run")


@pytest.mark.parametrize("name", [NEIGHBOUR, FAR])
def test_another_picture_in_place_of_a_scored_one_is_refused(broken, monkeypatch, name):
    monkeypatch.setattr(clever_ext.runs.changed_pictures, "_LATER", 1)
    monkeypatch.setattr(clever_ext.runs.changed_pictures, "_OTHERS", 1)
    mend(broken)
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(broken.pictures / name)
    before = broken.folder("run").description_file.read_bytes()
    with pytest.raises(CleverError, match=f"changed since they were scored: {name}"):
        broken.score("run", retry_errors=True)
    assert broken.folder("run").description_file.read_bytes() == before


def test_what_was_found_of_pictures_is_found_anew(small):
    def score(retry_errors=False):
        folder, source, scorer = small.folder("run"), open_images(small.pictures), small.scorer()

        def look(loader):
            return look_at_run(source, scorer, folder.path, (0, 1), loader)

        score_pieces(folder, source, scorer, Alone(), retry_errors=retry_errors, look=look)
        return [each["said"] for each in folder.read()["warnings"]]

    picture = small.pictures / BROKEN
    good = picture.read_bytes()
    picture.write_bytes(b"nothing")
    assert any("cannot be read" in each for each in score())
    picture.write_bytes(good)
    assert not any("cannot be read" in each for each in score(retry_errors=True))
