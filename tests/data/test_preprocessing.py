"""Pictures become the pixels that torchvision and timm make of them, bit by bit."""

import json
import random
from pathlib import Path

import pytest
import torch
from peers import peer
from PIL import Image
from transforms import (
    TimmConfig,
    digest,
    geometry,
    noise,
    of_preset,
    timm_configs,
    torchvision_presets,
    torchvision_transform,
)

from clever_ext.data import Preprocessing, package_folder, scale_size
from clever_ext.errors import CleverError

TABLE = json.loads(Path(__file__).with_name("preprocessing.json").read_text())
MEAN = (0.485, 0.456, 0.406)
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
SIZES = [(1, 1), (1, 40), (40, 1), (3, 500), (500, 3), (333, 250), (250, 333), (64, 64), (31, 97)]
CROPS = [
    (224, 256),
    (64, 64),
    (28, 32),
    (33, 20),
    ((20, 50), 40),
    ((40, 20), (64, 48)),
    (8, (16, 16)),
]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    file = package_folder("foolbox") / "data" / "imagenet_00_243.jpg"
    return Image.open(file).convert("RGB").crop((20, 40, 480, 363))


def sampled_sizes(count: int) -> list[tuple[int, int]]:
    chance = random.Random(0)
    return [(1, 1), (1, 2000), (2000, 1)] + [
        (chance.randint(1, 2000), chance.randint(1, 2000)) for _ in range(count)
    ]


# ---------------------------------------------------------------- by a table that they made


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_sizes_offsets_and_pixels_of_the_table(library: str) -> None:
    rows = [row for row in TABLE if row["library"] == library]
    assert len(rows) > 20
    for row in rows:
        ours = Preprocessing(**row["preprocessing"])
        height, width = row["height"], row["width"]
        resized, start = ours.geometry(height, width)
        assert [[*resized], [*start]] == [row["resized"], row["start"]], row
        pixels = digest(ours(noise(height, width, row["seed"])))
        assert row["pixels"] in (pixels, None), row


# ---------------------------------------------------------------- torchvision


@pytest.mark.parametrize(("crop", "resize"), CROPS)
def test_sizes_and_offsets_are_torchvisions(crop, resize) -> None:
    theirs, ours = torchvision_transform(resize, crop, "bilinear"), Preprocessing(crop, resize)
    for size in sampled_sizes(400):
        assert ours.geometry(*size) == geometry(theirs, *size), size


@pytest.mark.parametrize("interpolation", FILTERS)
def test_pixels_are_torchvisions(interpolation) -> None:
    for number, size in enumerate(SIZES):
        picture = noise(*size, number)
        for crop, resize in CROPS:
            theirs = torchvision_transform(resize, crop, interpolation)(picture)
            assert torch.equal(Preprocessing(crop, resize, interpolation)(picture), theirs), size


def test_a_thin_picture_may_pass_pillows_limit_once_resized() -> None:
    picture = noise(1, 1400, 0)
    theirs = torchvision_transform(256, 224, "bilinear")(picture)
    assert torch.equal(Preprocessing(224, 256, "bilinear")(picture), theirs)


def test_half_a_pixel_is_rounded_as_asked() -> None:
    even, down = (Preprocessing(8, 8, crop_rounding=how) for how in ("even", "down"))
    starts = [[each.geometry(8, 8 + odd)[1][1] for odd in (1, 3, 5, 7)] for each in (even, down)]
    assert starts == [[0, 2, 2, 4], [0, 1, 2, 3]]
    assert down.geometry(8, 12) == even.geometry(8, 12)
    assert "crop_rounding" not in even.described()
    assert Preprocessing(**down.described()) == down
    with pytest.raises(CleverError, match="crop_rounding is 'up'"):
        Preprocessing(8, crop_rounding="up")


def test_what_the_picture_does_not_reach_is_black() -> None:
    pixels = Preprocessing(12, 8)(Image.new("RGB", (8, 16), "white"))
    assert pixels[:, :, 2:10].eq(1).all()
    assert pixels.sum() == 3 * 12 * 8


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_grey_pixels_are_torchvisions(mode) -> None:
    transforms, picture = peer("torchvision.transforms"), noise(45, 60, 0, mode)
    theirs = transforms.Compose([transforms.Grayscale(1), torchvision_transform(32, 28, "bicubic")])
    ours = Preprocessing(28, 32, channels=1)(picture)
    assert ours.shape == (1, 28, 28)
    assert torch.equal(ours, theirs(picture))


def test_normalised_photographs_for_networks_of_torchvisions(photograph) -> None:
    presets = torchvision_presets()
    assert len(presets) > 20
    for preset in random.Random(0).sample(presets, 8):
        preprocessing, normalised = of_preset(preset)
        assert torch.equal(normalised(preprocessing(photograph)), preset(photograph)), preset


# ---------------------------------------------------------------- timm


def their_pixels(config: TimmConfig, picture: Image.Image) -> torch.Tensor:
    return config.theirs()(picture).float().div(255)


def test_photographs_for_networks_of_timms(photograph) -> None:
    configs = timm_configs()
    modes = {(c.crop_mode, c.interpolation, c.image_size[0] == c.image_size[1]): c for c in configs}
    for config in {*modes.values(), *random.Random(0).sample(configs, 12)}:
        assert torch.equal(config.ours()(photograph), their_pixels(config, photograph)), config


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(
    ("size", "share"), [((96, 192), 0.875), ((40, 41), 0.9), ((64, 64), 1.0), ((50, 30), 1.15)]
)
def test_sizes_offsets_and_pixels_are_timms(mode, size, share) -> None:
    config = TimmConfig(size, share, mode, "bilinear", MEAN)
    theirs, ours = config.theirs(), config.ours()
    for picture in sampled_sizes(200):
        found = geometry(theirs, *picture)
        if min(found[0]) > 0:  # theirs rounds the sides of thin pictures to none
            assert ours.geometry(*picture) == found, picture
    for number, picture_size in enumerate([(1, 1), (120, 80), (70, 130), (200, 199)]):
        picture = noise(*picture_size, number)
        assert torch.equal(ours(picture), their_pixels(config, picture)), picture_size


def test_a_side_that_timm_rounds_to_none_is_one_pixel() -> None:
    ours = Preprocessing(32, crop_mode="border")
    assert ours.geometry(1, 2000) == ((1, 32), (-15, 0))
    assert ours(noise(1, 2000, 0)).shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [(224, 0.875, 256), (260, 0.875, 297), (224, 0.95, 235), ((96, 192), 0.9, (106, 213))],
)
def test_a_share_is_counted_as_timm_does(size, share, expected) -> None:
    assert scale_size(size, share) == expected


# ---------------------------------------------------------------- what is asked for


@pytest.mark.parametrize(
    "given",
    [
        Preprocessing(224),
        Preprocessing((96, 192), channels=1),
        Preprocessing(224, (256, 300)),
        Preprocessing(224, 256, "bilinear", "border", 3, (1, 2, 3)),
    ],
)
def test_what_a_run_keeps_makes_it_again(given) -> None:
    assert Preprocessing(**json.loads(json.dumps(vars(given)))) == given


def test_what_is_left_out_is_filled_in() -> None:
    assert vars(Preprocessing((8, 8))) == vars(Preprocessing(8, 8, "bicubic", "center"))
    assert Preprocessing([8]).image_size == 8
    assert Preprocessing((8, 9)).resize == (8, 9)
    assert Preprocessing((8, 9)).crop_mode == "center"
    assert Preprocessing(8, (8, 8)).crop_mode == "squash"
    assert Preprocessing(8, (8, 8), crop_mode="center") == Preprocessing(8)
    assert Preprocessing(8, 10, crop_mode="squash") == Preprocessing(8, (10, 10))


def test_a_picture_for_a_network_of_other_channels_is_refused() -> None:
    with pytest.raises(CleverError, match="takes 4 channels, and this is a picture"):
        Preprocessing(8, channels=4)(noise(8, 8, 0))
