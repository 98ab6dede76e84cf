"""Arrays of pictures in .npy, .npz and .safetensors files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from clever_ext import data
from clever_ext.data import Preprocessing, open_images
from clever_ext.errors import CleverError

AS_IS = Preprocessing(8, 8)
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5])


def write(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, next(iter(arrays.values())))
    elif path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    return path


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors"])
def test_a_picture_is_its_row_and_its_number(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"a.{ending}", images=COLOUR, labels=LABELS)
    source = open_images(path)
    assert source.kind == "array"
    assert [record.image_id for record in source] == [0, 1, 2, 3, 4]
    assert [record.name for record in source] == ["0", "1", "2", "3", "4"]
    labels = [None] * 5 if ending == "npy" else LABELS.tolist()
    assert [record.label for record in source] == labels
    for n in (4, 0, 2):
        expected = torch.from_numpy(COLOUR[n]).permute(2, 0, 1).float() / 255
        assert torch.equal(data.load(source[n], AS_IS), expected)
    assert list(open_images(**source.arguments)) == list(source)
    assert pickle.loads(pickle.dumps(source[0])) == source[0]


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y")])
def test_names_of_the_arrays(tmp_path: Path, names) -> None:
    path = write(tmp_path / "a.npz", **{names[0]: COLOUR, names[1]: LABELS[:, None]})
    assert [record.label for record in open_images(path)] == LABELS.tolist()


def test_text_labels(tmp_path: Path) -> None:
    labels = np.array(["n01440764", "tench", "7", "a b", "x"])
    path = write(tmp_path / "a.npz", x=COLOUR, y=labels)
    assert [record.label for record in open_images(path)] == ["n01440764", "tench", 7, "a b", "x"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 5, 6), (1, 4, 4), (20,), (2, 3, 4, 5)])
def test_numbers_go_through_unchanged(tmp_path: Path, dtype, shape) -> None:
    values = RNG.random((4, *shape)).astype(dtype)
    for ending in ("npy", "npz", "safetensors"):
        source = open_images(write(tmp_path / f"a.{ending}", images=values))
        pixels = data.load(source[3], AS_IS)
        assert torch.equal(pixels, torch.from_numpy(values[3].astype(np.float32)))


def test_bfloat16(tmp_path: Path) -> None:
    values = torch.rand(2, 3, 4, 4).bfloat16()
    save_file({"images": values}, tmp_path / "a.safetensors")
    assert torch.equal(
        data.load(open_images(tmp_path / "a.safetensors")[1], AS_IS), values[1].float()
    )


@pytest.mark.parametrize("values", [[-0.1, 0.5], [0.0, 255.0], [0.0, np.nan]])
def test_pixels_outside_their_range_are_errors_of_their_rows(tmp_path: Path, values) -> None:
    images = np.zeros((2, 3, 4, 4), np.float32)
    images[1, 0, 0, :2] = values
    source = open_images(write(tmp_path / "a.npy", images=images))
    assert data.load(source[0], AS_IS).shape == (3, 4, 4)
    with pytest.raises(CleverError, match=r"picture 1 has values from .*divide by 255"):
        data.load(source[1], AS_IS)


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 8, 8, 1)])
def test_grey_pictures_stay_grey(tmp_path: Path, shape) -> None:
    grey = RNG.integers(0, 256, shape, dtype=np.uint8)
    source = open_images(write(tmp_path / "a.npy", images=grey))
    same = data.load(source[2], AS_IS)
    assert same.shape == (1, 8, 8)
    assert np.array_equal(same[0].numpy(), grey.reshape(6, 8, 8)[2] / np.float32(255))
    resized = data.load(source[2], Preprocessing(4, 4))
    expected = Preprocessing(4, 4)(Image.fromarray(grey.reshape(6, 8, 8)[2]))
    assert torch.equal(resized, expected[:1])


def test_pictures_of_another_size_are_preprocessed(tmp_path: Path) -> None:
    preprocessing = Preprocessing(5, 6)
    source = open_images(write(tmp_path / "a.npy", images=COLOUR))
    pixels = data.load(source[1], preprocessing)
    assert torch.equal(pixels, preprocessing(Image.fromarray(COLOUR[1])))


def test_transparent_pictures_are_composited(tmp_path: Path) -> None:
    images = np.zeros((1, 8, 8, 4), np.uint8)
    source = open_images(write(tmp_path / "a.npy", images=images))
    assert torch.equal(data.load(source[0], AS_IS), torch.ones(3, 8, 8))


def test_a_large_array_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (1000, 1000, 1000, 3))
    array[999] = 7
    del array
    source = open_images(path)
    assert data.load(source[999], Preprocessing(1000, 1000)).unique() == torch.tensor(7 / 255)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3), np.uint8), r"uint8 of shape \[2, 3\]"),
        (np.zeros((2, 3, 8, 8), np.uint8), "np.moveaxis"),
        (np.zeros((0, 8, 8), np.uint8), r"shape \[0, 8, 8\]"),
        (np.zeros((2, 8, 8, 3), np.int64), "int64 of shape"),
        (np.zeros(4, np.float32), r"float32 of shape \[4\]"),
        (np.zeros((2, 3), complex), "complex128"),
        (np.array([object()] * 2), "objects are refused, since reading them may run code"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array, message) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(CleverError, match=message):
        open_images(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"arr_0": COLOUR}, 'holds \'arr_0\'.*"images" or "x"'),
        ({"images": np.array([object()] * 2)}, "objects are refused"),
        ({"x": COLOUR, "y": np.array([object()] * 5)}, "objects are refused"),
        ({"x": COLOUR, "y": LABELS[:4]}, r"labels .* of shape \[4\]"),
        ({"x": COLOUR, "y": LABELS / 2}, "labels .* float64"),
    ],
)
def test_other_archives_are_refused(tmp_path: Path, arrays, message) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(CleverError, match=message):
        open_images(tmp_path / "a.npz")


def test_archives_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path / "a.npz", images=np.zeros((1000, 28, 28), np.uint8))
    assert path.stat().st_size < 2000
    monkeypatch.setattr("clever_ext.data.arrays.MAX_NPZ_BYTES", 100_000)
    with pytest.raises(CleverError, match=r"take 784128 bytes.*save the pictures as \.npy"):
        open_images(path)


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors"])
@pytest.mark.parametrize("damage", ["emptied", "cut", "moved"])
def test_damaged_files_are_refused(tmp_path: Path, ending: str, damage: str) -> None:
    path = write(tmp_path / f"a.{ending}", images=COLOUR)
    content = path.read_bytes()
    path.write_bytes(
        {"emptied": b"", "cut": content[: len(content) // 2], "moved": b"x" + content}[damage]
    )
    with pytest.raises(CleverError, match="cannot be read"):
        open_images(path)


def test_an_archive_that_is_called_an_array_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", images=COLOUR).rename(tmp_path / "a.npy")
    with pytest.raises(CleverError, match="it holds a NpzFile"):
        open_images(tmp_path / "a.npy")


def test_the_digest_tells_arrays_of_one_length_apart(tmp_path: Path) -> None:
    digests = {
        open_images(write(tmp_path / f"{n}.npy", images=array)).description()["listing_sha256"]
        for n, array in enumerate([COLOUR, COLOUR[..., 0], COLOUR.astype(np.float32)])
    }
    assert len(digests) == 3


def test_an_array_that_changes_meanwhile_is_not_read_on(tmp_path: Path) -> None:
    source = open_images(write(tmp_path / "a.npy", images=COLOUR))
    write(tmp_path / "a.npy", images=COLOUR[:2])
    with pytest.raises(CleverError, match="has changed since"):
        data.load(source[0], AS_IS)
