"""The options that name pictures."""

import argparse

import pytest
from layouts import image_folder, parquet, table

from clever_ext.cli.images import add_images, open_from
from clever_ext.data import resolve, sample_pictures
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


def test_options_choose_among_several(tmp_path) -> None:
    for split in ("train", "val"):
        image_folder(tmp_path / split, ["1", "2", "10"], each=1)
    source = open_from(parse("--images", str(tmp_path), "--split", "val", "--label-order", "text"))
    assert [record.label for record in resolve(source, 3)] == [0, 1, 2]
    assert source.arguments["follow_links"]
    file = tmp_path / "a.parquet"
    file.write_bytes(parquet(table({"fine_label": [1], "coarse_label": [2]}, {}, column="img")))
    columns = ["--image-column", "img", "--label-column", "coarse_label", "--no-follow-links"]
    source = open_from(parse("--images", str(file), *columns))
    assert [record.label for record in source] == [2]
    assert not source.arguments["follow_links"]


def test_bad_options_are_refused() -> None:
    with pytest.raises(CleverError, match="one of them"):
        open_from(parse("--images", FOLDER, "--limit", "1", "--sample", "1"))
