"""The options that name pictures."""

import argparse

import pytest

from clever_ext.cli.images import add_images, open_from
from clever_ext.data import sample_pictures
from clever_ext.errors import CleverError

FOLDER = sample_pictures().path


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_images(parser)
    return parser.parse_args(arguments)


def test_all_options_arrive(tmp_path) -> None:
    (tmp_path / "labels.csv").write_text(
        "imagenet_00_243.jpg,bull_mastiff\nimagenet_01_559.jpg,2\n"
    )
    (tmp_path / "map.txt").write_text("bull mastiff\n")
    source = open_from(
        parse(
            *["--images", FOLDER, "--include", "imagenet_0[01]_*", "--limit", "1"],
            *["--labels", str(tmp_path / "labels.csv"), "--label-map", str(tmp_path / "map.txt")],
        )
    )
    assert [(record.name, record.label) for record in source] == [
        ("imagenet_00_243.jpg", "bull_mastiff")
    ]
    assert source.label_map == {"bull mastiff": 0}
    assert source.selection == {"limit": 1}


def test_samples_and_patterns() -> None:
    arguments = ["--images", FOLDER, "--include", "imagenet_*", "--label-pattern", r"_(\d+)\."]
    source = open_from(parse(*arguments, "--sample", "3", "--sample-seed", "5"))
    assert source.selection == {"sample": 3, "sample_seed": 5}
    assert all(record.name.endswith(f"_{record.label}.jpg") for record in source)
    assert parse(*arguments).workers == 1


def test_bad_options_are_refused() -> None:
    with pytest.raises(CleverError, match="one of them"):
        open_from(parse("--images", FOLDER, "--limit", "1", "--sample", "1"))
