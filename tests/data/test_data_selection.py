"""The first pictures, and random ones that are always the same."""

import itertools
from pathlib import Path

import pytest

from clever_ext.data import open_images, sample_pictures, select
from clever_ext.errors import CleverError

SOURCE = sample_pictures()


def names(source) -> list[str]:
    return [record.name for record in source]


def test_without_a_limit_all_are_taken() -> None:
    assert select(SOURCE) is SOURCE
    assert SOURCE.description()["selection"] is None


@pytest.mark.parametrize(("limit", "taken"), [(1, 1), (5, 5), (20, 20), (99, 20)])
def test_a_limit_takes_the_first(limit: int, taken: int) -> None:
    few = select(SOURCE, limit=limit)
    assert names(few) == names(SOURCE)[:taken]
    assert few.description()["images"] == taken
    assert few.description()["selection"] == {"limit": limit}
    assert names(select(open_images(**few.arguments), **few.selection)) == names(few)


def test_samples_are_nested_fixed_and_in_order() -> None:
    samples = [select(SOURCE, sample=n) for n in (3, 7, 15, 20, 99)]
    for small, large in itertools.pairwise(samples):
        assert set(names(small)) <= set(names(large))
    for sample, n in zip(samples, (3, 7, 15, 20, 20), strict=True):
        assert len(sample) == n
        assert names(sample) == [name for name in names(SOURCE) if name in names(sample)]
    assert samples[0].description()["selection"] == {"sample": 3, "sample_seed": 0}
    # Constants: a sample must stay the same in later versions.
    assert names(samples[0]) == [
        "imagenet_09_455.jpg",
        "imagenet_15_99.jpg",
        "imagenet_17_22.jpg",
    ]


def test_a_sample_depends_on_its_seed_and_not_on_what_else_is_listed(tmp_path: Path) -> None:
    assert names(select(SOURCE, sample=7)) != names(select(SOURCE, sample=7, sample_seed=1))
    for n in range(200):
        (tmp_path / f"{n}.png").touch()
    chosen = [name for name in names(select(open_images(tmp_path), sample=50)) if name[0] == "1"]
    ones = open_images(tmp_path, include="1*")
    assert names(select(ones, sample=len(chosen))) == chosen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 2, "sample": 3}, "both a limit of 2 and a sample of 3"),
        ({"limit": 0}, "limit is 0"),
        ({"sample": -1}, "sample is -1"),
    ],
)
def test_bad_selections_are_refused(options, message) -> None:
    with pytest.raises(CleverError, match=message):
        select(SOURCE, **options)
