"""`clever_score` on pictures, and by a model that knows what becomes of them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import clever_ext as cx

SHAPE = (3, 4, 5)
FEW = {"n_batches": 4, "batch_samples": 8, "radius": 0.5}


def network(names=None, **given):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(60, 3)).eval()
    loaded = cx.load_model(model, image_size=SHAPE[1:], **given)
    object.__setattr__(loaded, "class_names", names)
    return loaded


def pictures(n=3, size=(5, 4)):
    noise = np.random.default_rng(1)
    return [
        Image.fromarray(noise.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)) for _ in range(n)
    ]


def pixels(model, images):
    return torch.stack([model.preprocessing(image) for image in images])


def same(a, b):
    columns = ["image_id", "target", "predicted", "label", "score", "status"]
    return a.table[columns].equals(b.table[columns])


def test_pictures_are_scored_as_the_loaded_model_takes_them():
    model, images = network(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2)), pictures(size=(9, 7))
    expected = cx.clever_score(model.model, pixels(model, images), **FEW)
    found = cx.clever_score(model, images, **FEW)
    assert same(found, expected)
    assert found.table["image"].unique().tolist() == ["0", "1", "2"]
    assert found.metadata["model"]["name"] == "Sequential"
    assert found.metadata["model"]["digest"] == expected.metadata["model"]["digest"]
    one = cx.clever_score(model, images[0], **FEW)
    np.testing.assert_allclose(one.table["score"], expected.table["score"][:2], rtol=1e-6)


@pytest.mark.filterwarnings("error")
def test_pictures_keep_their_size_for_any_other_model():
    model, images = network(), pictures()
    expected = cx.clever_score(model.model, pixels(model, images), **FEW)
    assert same(cx.clever_score(model.model, images, **FEW), expected)
    with pytest.raises(cx.CleverError, match=r"\[3, 4, 5\] and \[3, 7, 9\].*cx.load_model"):
        cx.clever_score(model.model, [*images, *pictures(1, (9, 7))], **FEW)


@pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")
def test_labels_are_those_of_the_data_unless_others_are_given():
    model, x = network().model, torch.rand(3, *SHAPE)
    data, labels = TensorDataset(x, torch.tensor([2, 0, 1])), [1, 1, 2]
    assert same(
        cx.clever_score(model, data, **FEW), cx.clever_score(model, x, labels=[2, 0, 1], **FEW)
    )
    expected = cx.clever_score(model, x, labels=labels, **FEW)
    assert same(cx.clever_score(model, data, labels=labels, **FEW), expected)
    assert same(cx.clever_score(model, [(x[n], labels[n]) for n in range(3)], **FEW), expected)
    ids = cx.clever_score(model, data, image_ids=[7, 8, 9], **FEW)
    assert ids.table["image_id"].unique().tolist() == [7, 8, 9]


@pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")
def test_labels_that_are_names():
    source = cx.open_images(pictures(), labels=["ant", "bee", "cat"])
    with pytest.raises(cx.CleverError, match=r"names, such as 'ant'.*as numbers"):
        cx.clever_score(network(), source, **FEW)
    model = network(["cat", "ant", "bee"])
    assert same(
        cx.clever_score(model, pictures(), labels=["ant", "bee", "cat"], **FEW),
        cx.clever_score(model, source, **FEW),
    )
    found = cx.clever_score(model, source, **FEW)
    assert found.table.groupby("image_id")["label"].first().tolist() == [1, 2, 0]


def test_all_that_take_images_take_pictures():
    model, images = network(), pictures()
    result = cx.clever_score(model, images, **FEW)
    assert (cx.refine(result, model, images, n_batches=8).table["n_batches"] == 8).all()
    assert cx.plan(model, images, max_gradients=64, batch_samples=4).rows == 6
    assert not cx.check(model, images, **FEW).refused


def test_a_folder_is_opened_first(tmp_path):
    pictures(1)[0].save(tmp_path / "a_1.png")
    for path in (tmp_path, str(tmp_path)):
        with pytest.raises(cx.CleverError, match=r"is the path.*cx.open_images.*score_run"):
            cx.clever_score(network(), path, **FEW)
    source = cx.open_images(tmp_path, label_pattern=r"_(\d)")
    found = cx.clever_score(network(), source, **FEW)
    assert found.table["image"].unique().tolist() == ["a_1.png"]
    assert found.table["image_id"].iloc[0] == source[0].image_id


def test_a_loaded_model_has_its_own_normalisation():
    with pytest.raises(cx.CleverError, match="give them to load_model"):
        cx.clever_score(network(), pictures(), mean=(0.5,) * 3, std=(0.2,) * 3, **FEW)


def test_a_normalisation_of_other_channels_says_so_itself():
    model, x = network().model, torch.rand(2, *SHAPE)
    with pytest.raises(
        cx.CleverError, match=r"^images of shape .* normalisation of 1 channels"
    ) as e:
        cx.clever_score(model, x, mean=0.5, std=0.2, **FEW)
    assert str(e.value).count("Fix:") == 1
    with pytest.raises(cx.CleverError, match=r"mean is \[0.5\]"):
        cx.load_model(model, image_size=4, mean=0.5, std=0.2)


def test_units_that_are_no_pixels_are_said():
    x, how = torch.rand(2, *SHAPE), {"mean": (0.5,) * 3, "std": (0.2,) * 3, **FEW}
    with pytest.warns(cx.CleverWarning, match=r"from -?\d.* and mean and std are given"):
        cx.clever_score(network().model, x * 255, **how)
    assert "mean and std are given" in str(cx.check(network().model, x * 3 - 1, **how))
    with pytest.raises(cx.CleverError, match="normalised already"):
        cx.clever_score(cx.Normalized(network().model, (0.5,) * 3, (0.2,) * 3), x, **how)


@pytest.mark.parametrize(
    ("images", "how", "message"),
    [
        (["a.png", "b.png"], {}, "paths of files.*cx.open_images"),
        (
            torch.rand(2, *SHAPE),
            {"norm": torch.tensor([1, 2])},
            "norm is a tensor.*as labels or targets",
        ),
    ],
)
def test_other_things_than_were_meant(images, how, message):
    with pytest.raises(cx.CleverError, match=message):
        cx.clever_score(network().model, images, **{**FEW, **how})
