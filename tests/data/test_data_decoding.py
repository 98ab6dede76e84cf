"""From pictures of every kind, and files that are none, to pixels or an error."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from clever_ext import data
from clever_ext.data import ImageRecord, Preprocessing
from clever_ext.data.folders import FileInFolder
from clever_ext.errors import CleverError

AS_IS = Preprocessing(8, 8)
RED, GREEN = (255, 0, 0), (0, 255, 0)


def record(path: Path) -> ImageRecord:
    return ImageRecord.of(path.name, FileInFolder(path.parent, path.name))


def pixels(image: Image.Image) -> np.ndarray:
    """[H, W, 3] in 0..255, as the network sees an 8 x 8 picture."""
    return np.rint(AS_IS(image).numpy().transpose(1, 2, 0) * 255).astype(int)


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: Pillow writes neither 16-bit colour nor a header without its pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def gradient(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).round().astype(np.uint8))


# ---------------------------------------------------------------- preprocessing


def test_a_picture_of_the_right_size_is_taken_as_it_is() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    out = AS_IS(image)
    assert out.dtype == torch.float32
    assert out.shape == (3, 8, 8)
    assert out.is_contiguous()
    assert np.array_equal(out.numpy(), np.asarray(image, np.float32).transpose(2, 0, 1) / 255)


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (41, 20), (20, 20)])
def test_short_side_is_resized_and_the_centre_cropped(size: tuple[int, int]) -> None:
    """A picture symmetric about its centre stays so, and its centre is the crop's."""
    out = Preprocessing(8, 10)(gradient(*size)).numpy()
    assert out.shape == (3, 8, 8)
    # x and 255 - x: equal in the middle, to the rounding to 8 bits and half a pixel of the crop
    assert np.abs(out[0] + out[2] - 1).max() <= 2 / 255
    assert abs(out[0].mean() - 0.5) < 0.06
    assert abs(out[1].mean() - 0.5) < 0.06


def test_interpolation_is_the_one_asked_for() -> None:
    image = gradient(40, 20).effect_spread(9)
    bicubic, bilinear = (Preprocessing(8, 10, how)(image) for how in ("bicubic", "bilinear"))
    assert not torch.equal(bicubic, bilinear)
    assert (bicubic - bilinear).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8), "image_size is 0"),
        ((-3, 8), "image_size is -3"),
        ((8.5, 8), "image_size is 8.5"),
        (((8, 8, 8), 8), r"image_size is \(8, 8, 8\).*height and width"),
        ((8, 0), "resize is 0"),
        ((8, "10"), "resize is '10'"),
        ((8, 8, "cubic"), "interpolation is 'cubic'.*bilinear, hamming, bicubic"),
        ((8, 8, "bicubic", "centre"), "crop_mode is 'centre'.*center, squash, border"),
        (((8, 9), 8, "bicubic", "squash"), "resize is 8 with crop_mode 'squash'.*two numbers"),
        (((8, 9), 8, "bicubic", "border"), "resize is 8 with crop_mode 'border'.*two numbers"),
        ((8, 8, "bicubic", "center", 0), "channels is 0"),
        ((8, 8, "bicubic", "border", 3, (1, 2)), r"fill is \(1, 2\).*each of 3 channels"),
    ],
)
def test_bad_preprocessing_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(CleverError, match=message):
        Preprocessing(*arguments)


@pytest.mark.parametrize("orientation", range(10))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    image = gradient(8, 8)
    image.paste(GREEN, (0, 0, 3, 2))  # no turn leaves it as it is
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        expected = ImageOps.exif_transpose(turned)
    assert torch.equal(data.load(record(tmp_path / "turned.png"), AS_IS), AS_IS(expected))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_modes_become_rgb(mode: str) -> None:
    def plain(level: int) -> Image.Image:
        if mode == "LAB":  # Pillow converts from LAB but not to it
            return Image.new("LAB", (8, 8), (level, 128, 128))
        return Image.new("RGB", (8, 8), (level,) * 3).convert(mode)

    assert (pixels(plain(255)) >= 254).all()
    assert (pixels(plain(0)) <= 1).all()


def test_cmyk_and_palette_files(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    Image.new("RGB", (8, 8), RED).quantize(4).save(tmp_path / "b.gif")
    for name in ("a.jpg", "b.gif"):
        out = data.load(record(tmp_path / name), AS_IS).numpy()
        assert out[0].min() > 0.97  # JPEG is exact to a few levels
        assert out[1:].max() < 0.03


def test_16_bit_samples_keep_their_high_byte(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    colour = np.stack([grey, grey[::-1], grey.T], -1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour)
    (tmp_path / "colour.png").write_bytes(png(8, 8, 16, 2, rows))
    for name, expected in (("grey", np.stack([grey] * 3, -1)), ("colour", colour)):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert np.array_equal(pixels(image), expected >> 8)


def test_older_pillows_mode_of_16_bit_grey() -> None:
    assert (pixels(Image.fromarray(np.full((8, 8), 0x8001, np.int32))) == 0x80).all()


@pytest.mark.parametrize("image", [Image.new("F", (8, 8), 0.5), Image.new("I", (8, 8), 70_000)])
def test_samples_of_unknown_range_are_refused(image: Image.Image) -> None:
    with pytest.raises(CleverError, match=r"32-bit samples.*whose range is known"):
        AS_IS(image)


def test_transparency_is_composited_on_white() -> None:
    assert (pixels(Image.new("RGBA", (8, 8), (*RED, 0))) == 255).all()
    assert (pixels(Image.new("RGBA", (8, 8), (*RED, 255))) == RED).all()
    assert (pixels(Image.new("LA", (8, 8), (0, 0))) == 255).all()
    half = pixels(Image.new("RGBA", (8, 8), (0, 0, 0, 128)))
    assert (abs(half - 127) <= 1).all()
    palette = Image.new("RGB", (8, 8), RED).quantize(2)
    palette.info["transparency"] = palette.getpixel((0, 0))
    assert (pixels(palette) == 255).all()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.mpo"])
def test_of_an_animation_the_first_frame_counts(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    out = data.load(record(tmp_path / name), AS_IS)
    assert out[0].min() > 0.97
    assert out[1:].max() < 0.03


@pytest.mark.parametrize("kind", ["png", "webp", "bmp", "gif", "jpeg"])
def test_the_content_counts_and_not_the_ending(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (8, 8), RED).save(tmp_path / "a.jpg", kind)
    assert data.load(record(tmp_path / "a.jpg"), AS_IS)[0].min() > 0.97


@pytest.mark.parametrize("kind", ["eps", "tiff", "pdf", "ppm", "ico", "tga"])
def test_other_formats_are_not_tried(tmp_path: Path, kind: str) -> None:
    """Some are opened by programs of their own: Ghostscript for one."""
    Image.new("RGB", (16, 16), RED).save(tmp_path / "a.jpg", kind)
    with pytest.raises(CleverError, match=r"cannot be decoded .*cannot identify image file"):
        data.load(record(tmp_path / "a.jpg"), AS_IS)


# ---------------------------------------------------------------- files that are no pictures


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "bmp", "gif"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"half.{kind}"
    gradient(64, 64).effect_spread(20).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CleverError, match=f"'half.{kind}' cannot be decoded"):
        data.load(record(path), AS_IS)


def test_empty_missing_and_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    for name in ("empty.jpg", "text.jpg", "missing.jpg"):
        with pytest.raises(CleverError, match=f"'{name}' cannot be decoded .*replace the file"):
            data.load(record(tmp_path / name), AS_IS)


# Pillow warns from its limit on and raises from twice that; both are errors here.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 20_000])
def test_decompression_bombs_are_refused_unopened(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, 8, 0, b""))
    with pytest.raises(CleverError, match=r"'bomb.png' is too large.*decompression bomb"):
        data.load(record(path), AS_IS)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_an_error_of_ours_where_warnings_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(10_000, 10_000, 8, 0, b""))
    with pytest.raises(CleverError, match="too large"):
        data.load(record(path), AS_IS)


def test_a_picture_that_explodes_when_resized_is_refused(tmp_path: Path) -> None:
    Image.new("L", (20_000, 1)).save(tmp_path / "line.png")
    with pytest.raises(CleverError, match="20000 x 1, once resized, is too large"):
        data.load(record(tmp_path / "line.png"), Preprocessing(224, 256))


def test_the_pixel_limit_is_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert data.load(record(tmp_path / "a.png"), AS_IS).shape == (3, 8, 8)
