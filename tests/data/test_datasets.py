"""Pictures that Python holds: lists, tensors, torch's data sets, and Hugging Face's own package."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from clever_ext.data import Preprocessing, load, open_images, resolve
from clever_ext.data.loading import Loader
from clever_ext.errors import CleverError

NOISE = np.random.default_rng(0)
LEVELS = NOISE.integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
PILLOW = [Image.fromarray(each) for each in LEVELS]
#: The same pictures as torch has them, in [0, 1].
PIXELS = torch.from_numpy(np.moveaxis(LEVELS, -1, 1).copy()).float() / 255
LABELS = [2, 0, 1, 2]
SMALL = Preprocessing(4)


class Read(Dataset):
    """Pictures with labels, and a note of which were read."""

    def __init__(self, **known):
        self.read = []
        vars(self).update(known)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.read.append(index)
        return PILLOW[index], LABELS[index]


FORMS = {
    "list": PILLOW,
    "tuple": tuple(PILLOW),
    "pairs": list(zip(PILLOW, LABELS, strict=True)),
    "tensor": PIXELS,
    "array": PIXELS.numpy(),
    "levels": LEVELS,
    "levels of torch": torch.from_numpy(np.moveaxis(LEVELS, -1, 1).copy()),
    "TensorDataset": TensorDataset(PIXELS, torch.tensor(LABELS)),
    "Dataset": Read(),
    "DataLoader": DataLoader(Read(), batch_size=3, shuffle=True),
    "dictionaries": [
        {"image": image, "label": label} for image, label in zip(PILLOW, LABELS, strict=True)
    ],
    "of a processor": [
        {"pixel_values": pixels, "labels": label}
        for pixels, label in zip(PIXELS, LABELS, strict=True)
    ],
}
WITHOUT = {"list", "tuple", "tensor", "array", "levels", "levels of torch"}


@pytest.mark.parametrize("form", FORMS)
def test_pictures_in_any_form_are_the_same_pictures(form):
    source = open_images(FORMS[form])
    assert source.kind == "dataset"
    assert [(record.name, record.image_id) for record in source] == [(str(n), n) for n in range(4)]
    assert [record.label for record in source] == ([None] * 4 if form in WITHOUT else LABELS)
    for n, record in enumerate(source):
        assert torch.equal(load(record, None), PIXELS[n])
    if form not in (
        "tensor",
        "array",
        "TensorDataset",
        "of a processor",
    ):  # numbers are not resized
        assert torch.equal(load(source[1], SMALL), SMALL(PILLOW[1]))
    assert source.arguments is None


def test_a_picture_without_a_model_keeps_its_size_and_is_grey_where_it_is_grey():
    grey = Image.fromarray(LEVELS[0, ..., 0])
    turned = Image.fromarray(LEVELS[0])
    exif = turned.getexif()
    exif[0x0112] = 6
    written = io.BytesIO()
    turned.save(written, "png", exif=exif)
    source = open_images([grey, PILLOW[0].convert("RGBA"), Image.open(written), LEVELS[0, ..., :1]])
    assert [tuple(load(record, None).shape) for record in source] == [
        (1, 8, 9), (3, 8, 9), (3, 9, 8), (1, 8, 9),
    ]  # fmt: skip


def test_numbers_are_taken_as_they_are_where_no_model_says_otherwise():
    source = open_images(PIXELS * 3 - 1)
    assert torch.equal(load(source[0], None), PIXELS[0] * 3 - 1)
    with pytest.raises(CleverError, match=r"values from -.*undo the normalisation"):
        load(source[0], SMALL)


class Many(Read):
    """As above, of 400 pictures."""

    def __len__(self):
        return 400

    def __getitem__(self, index):
        self.read.append(index)
        return PILLOW[index % 4], self.label(index)

    def label(self, index):
        return index % 3


TOLD = [index % 3 for index in range(400)]
NAMES = ["ant", "bee", "cat"]


def test_few_pictures_are_read_where_the_data_set_tells_the_labels():
    told = Many(targets=TOLD, classes=NAMES)
    source = open_images(Subset(told, [3, 7]))
    assert [record.label for record in source] == [0, 1]
    assert source.label_names == NAMES
    named = resolve(source, 4, ["bee", "cow", "cat", "ant"])
    assert [record.label for record in named] == [3, 0]
    for known in (told, Subset(told, range(400)), Many(targets=torch.tensor(TOLD))):
        assert [record.label for record in open_images(known)] == TOLD
    assert len(told.read) < 30


class Renumbered(Many):
    def label(self, index):
        return (index + 1) % 3


class Wrapped(Subset):
    def __getitems__(self, indices):
        return [self[index] for index in indices]

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image, (label + 1) % 3


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (Renumbered(targets=TOLD, classes=NAMES), [(k + 1) % 3 for k in range(400)]),
        (Wrapped(Many(targets=TOLD, classes=NAMES), range(400)), [(k + 1) % 3 for k in range(400)]),
        (Many(targets=[9] * 3), TOLD),
        (Many(targets=torch.zeros(400, 3)), TOLD),
    ],
)
def test_labels_are_those_of_the_items(data, labels):
    source = open_images(data)
    assert [record.label for record in source] == labels
    assert source.label_names is None


def test_names_of_parts_of_parts():
    told = Many(targets=TOLD, classes=NAMES)
    assert open_images(Subset(Subset(told, range(9)), [1, 2])).label_names == NAMES
    other = Many(targets=TOLD, classes=NAMES[::-1])
    joined = [open_images(ConcatDataset(pair)) for pair in ((told, told), (told, other))]
    assert [len(each) for each in joined] == [800, 800]
    assert [each.label_names for each in joined] == [NAMES, None]
    assert [record.label for record in joined[1]] == TOLD * 2


def test_labels_in_a_list_and_none():
    source = open_images(PILLOW, labels=torch.tensor(LABELS))
    assert [record.label for record in source] == LABELS
    assert "labels are a list: 3 classes" in str(source.findings[-1])
    source = open_images(FORMS["pairs"], labels=["ant", "bee", "ant", "cat"])
    assert source.classes == ["ant", "bee", "cat"]
    data = Read()
    assert {record.label for record in open_images(data, labels="none")} == {None}
    assert data.read == [0]
    assert "labels=[...]" in open_images(PILLOW).findings[-1].fix


def test_the_process_that_holds_them_reads_them():
    with Loader(open_images(PILLOW), SMALL, workers=3) as loader:
        assert loader._threads is None
        loaded = loader.submit(open_images(PILLOW)[:2]).result()
    assert torch.equal(loaded[1].pixels, SMALL(PILLOW[1]))


class Failing(Read):
    def __getitem__(self, index):
        if index == 2:
            raise OSError("gone")
        return super().__getitem__(index)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(PILLOW)


@pytest.mark.parametrize(
    ("pictures", "given", "message"),
    [
        ((each for each in PILLOW), {}, "generator has no length.*in a list"),
        (Stream(), {}, "Stream has no length"),
        (set("ab"), {}, "set has no length"),
        ([], {}, "no pictures"),
        ({"image": PILLOW}, {}, "path is {.*list, an array or a data set"),
        (DataLoader(Read(), collate_fn=list), {}, "collate_fn of its own.*give the data set"),
        (DataLoader(Read(), sampler=[1, 2]), {}, "takes a part.*Subset"),
        (DataLoader(Read(), sampler=RandomSampler(Read(), num_samples=2)), {}, "takes a part"),
        (DataLoader(Read(), sampler=SequentialSampler(range(2))), {}, "takes a part"),
        (DataLoader(Read(), batch_sampler=[[0, 1]]), {}, "takes a part"),
        (DataLoader(Read(), batch_sampler=BatchSampler(range(2), 2, False)), {}, "takes a part"),
        (DataLoader(Read(), batch_size=3, drop_last=True), {}, "takes a part"),
        ([PILLOW[0], (PILLOW[1], 1)], {}, "some items are"),
        ([(PILLOW[0], 1), PILLOW[1]], {}, "some items are"),
        (Failing(), {}, r"item 2 of the pictures cannot be read \(OSError: gone"),
        (PILLOW, {"labels": [1, 2]}, "2 labels for 4 pictures"),
        (PILLOW, {"labels": [1, 2, 1.5, 0]}, "label of picture 2 is 1.5"),
        (PILLOW, {"labels": [1, 2, 3, 0], "label_pattern": "(.)"}, "one source of labels"),
        (PILLOW, {"image_column": "image"}, "Image, which have no columns"),
        (PILLOW, {"split": "test"}, "split is 'test', and there is one"),
    ],
)
def test_what_cannot_be_listed(pictures, given, message):
    with pytest.raises(CleverError, match=message):
        open_images(pictures, **given)


@pytest.mark.parametrize("item", [7, "a", PIXELS[0] > 0.5, LEVELS[0, ..., :2], None])
def test_what_is_no_picture(item):
    with pytest.raises(CleverError, match="item 1 holds no picture"):
        load(open_images([PILLOW[0], item])[1], None)


@pytest.fixture(scope="module")
def hugging_face():
    return pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def stored(hugging_face):
    """Return the pictures as Hugging Face's package stores them."""
    kinds = {
        "image": hugging_face.Image(),
        "label": hugging_face.ClassLabel(names=["ant", "bee", "cat"]),
    }
    columns = {"image": PILLOW, "label": LABELS}
    return hugging_face.Dataset.from_dict(columns, hugging_face.Features(kinds))


def test_a_data_set_of_hugging_face(stored):
    source = open_images(stored)
    assert [record.label for record in source] == LABELS
    assert source.label_names == ["ant", "bee", "cat"]
    assert "the column 'label'" in source.labels_from
    assert all(torch.equal(load(record, None), PIXELS[n]) for n, record in enumerate(source))
    assert torch.equal(load(source[1], SMALL), SMALL(PILLOW[1]))
    assert isinstance(source[0].place.read(), bytes)  # decoded as the bytes of a file are


def test_parts_and_transforms_of_it(stored):
    part = open_images(stored.select([3, 1]))
    assert [record.label for record in part] == [2, 0]
    assert torch.equal(load(part[0], None), PIXELS[3])
    changed = stored.with_transform(lambda rows: {"pixel_values": rows["image"]})
    assert torch.equal(load(open_images(changed)[2], None), PIXELS[2])
    assert open_images(stored.with_format("torch"))[2].label == LABELS[2]


def test_splits_columns_and_numbers_of_it(hugging_face, stored):
    several = hugging_face.DatasetDict(train=stored, test=stored.select([0]))
    assert len(open_images(several, split="test")) == 1
    with pytest.raises(CleverError, match="one of 'train', 'test'"):
        open_images(several)
    assert len(open_images(hugging_face.DatasetDict(only=stored))) == 4
    two = stored.add_column("fine_label", [0, 1, 2, 3]).rename_column("label", "coarse_label")
    with pytest.raises(CleverError, match="several that may be labels"):
        open_images(two)
    assert open_images(two, label_column="fine_label")[3].label == 3
    with pytest.raises(CleverError, match="no column of pictures"):
        open_images(stored.remove_columns("image"))
    kinds = hugging_face.Features({"pixels": hugging_face.Array3D((3, 8, 9), "float32")})
    numbers = hugging_face.Dataset.from_dict({"pixels": PIXELS.numpy()}, kinds)
    assert torch.equal(load(open_images(numbers)[1], None), PIXELS[1])
