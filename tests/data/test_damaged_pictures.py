"""Some hundred damaged pictures through a worker: each gives pixels, or an error that says why.

`tests/faults/test_pictures.py` does the same with ten thousand.
"""

from collections import Counter
from pathlib import Path

import pytest
from damage import DAMAGES, damaged_pictures

from clever_ext.data import Loader, Preprocessing, open_images

SMALL = Preprocessing(64, 64)
EACH = 16
"""Pictures of each kind of damage."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("damaged")
    damage = {}
    for picture in damaged_pictures(EACH * len(DAMAGES), seed=0):
        (folder / picture.name).write_bytes(picture.content)
        damage[picture.name] = picture.damage
    source = open_images(folder)
    with Loader(source, SMALL, 1) as loader:
        found = loader.submit(source[:]).result()
    assert len(found) == len(damage)
    return [(damage[each.record.name], each) for each in found]


def test_each_gives_pixels_or_an_error_that_says_why(loaded) -> None:
    for _, each in loaded:
        if each.error is None:
            assert each.pixels.shape == (3, 64, 64)
            assert each.pixels.min() >= 0
            assert each.pixels.max() <= 1
        else:
            assert each.pixels is None
            assert len(each.error.wrong) > 10
            assert "crashed" not in str(each.error)


def test_whole_pictures_are_read_whatever_their_ending_and_exif(loaded) -> None:
    good = Counter(damage for damage, each in loaded if each.error is None)
    assert good["none"] == good["other ending"] == good["nonsense exif"] == EACH
    assert good["no picture"] == 0
