"""Images as people hold them, and images that cannot be meant."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.errors import CleverError
from clever_ext.estimators.table import check_settings
from clever_ext.inputs.batch import check_batch

FEW = {"n_batches": 3, "batch_samples": 4, "prepare": "none"}
IMAGES = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0))


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 3)).eval()


def scores(images, **settings):
    return cx.clever_score(model(), images, **FEW | settings).scores[2]


def images_of(given, dtype=None):
    return check_batch(given, None, None, model(), None, dtype).images


# --- containers --------------------------------------------------------------------------------

FORMS = {
    "list of tensors": list,
    "tuple of tensors": tuple,
    "list of arrays": lambda x: [each.numpy() for each in x],
    "array": lambda x: x.numpy(),
    "mixed": lambda x: [x[0], x[1].numpy(), x[2]],
    "nested lists": lambda x: x.tolist(),
    "reversed twice": lambda x: x.numpy()[::-1].copy()[::-1],
    "columns reversed": lambda x: x.numpy()[..., ::-1].copy()[..., ::-1],
    "other bytes": lambda x: x.numpy().astype(">f4"),
    "double": lambda x: x.numpy().astype(np.float64),
    "read-only": lambda x: np.broadcast_to(x.numpy(), x.shape),
    "fortran": lambda x: np.asfortranarray(x.numpy()),
    "expanded": lambda x: x[..., None].expand(3, 2, 4, 5)[..., 0],
    "with a gradient": lambda x: x.clone().requires_grad_(),
    "negative view": lambda x: torch.complex(x, -x).conj().imag,
    "inference": lambda x: inference(x),
}


def inference(x):
    with torch.inference_mode():
        return x.clone()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", FORMS)
def test_images_in_any_form_are_the_same_images(form):
    given = FORMS[form](IMAGES)
    assert torch.equal(images_of(given), IMAGES)
    np.testing.assert_array_equal(scores(given), scores(IMAGES))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([IMAGES[0], IMAGES[1][:, :3]], r"different shapes: \[2, 4\] and \[2, 3\].*crop"),
        ((IMAGES, torch.zeros(3)), r"different shapes: \[3, 2, 4\] and \[3\].*without labels"),
        (IMAGES.to("meta"), "images are on the meta device"),
        (IMAGES.to_sparse(), "sparse or nested.*to_dense"),
        (IMAGES.to_mkldnn(), "sparse or nested"),
        (torch.nested.nested_tensor([IMAGES[0], IMAGES[1]]), "sparse or nested"),
        (torch.complex(IMAGES, IMAGES), "images are torch.complex64"),
        (IMAGES > 0.5, "images are torch.bool"),
        (IMAGES.to(torch.float8_e4m3fn), "images are torch.float8"),
        ((IMAGES.numpy() * 255).astype(np.uint8), r"torch.uint8.*images.float\(\) / 255"),
        (np.array([object()]), "type ndarray are no array"),
        (np.array(["a", "b"]), "are no array"),
        ("photo.png", "the path 'photo.png'.*cx.open_images.*score_run"),
        (None, "type NoneType are no array"),
        ({"pixel_values": IMAGES}, "type dict are no array"),
        ([], r"shape \[0\]"),
    ],
)
def test_what_holds_no_images(images, message):
    with pytest.raises(CleverError, match=message):
        scores(images)


# --- range and clip ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda x: (x - 0.45) / 0.225,  # normalised
        lambda x: x * 255,
        lambda x: x * 2 - 1,
        lambda x: x + 0.1,
        lambda x: x * 0.9 + 0.102,
    ],
)
def test_images_outside_the_clip_are_refused(change):
    images = change(torch.tensor([0.0, 1.0]).repeat(3, 2, 2))
    for call in (cx.clever_score, cx.plan):
        with pytest.raises(
            CleverError, match=r"image 0 holds values from .* outside clip=\(0, 1\)"
        ):
            call(model(), images, clip=(0, 1))


def test_each_side_of_the_clip_counts_and_the_image_is_named():
    images = IMAGES.clone()
    images[1, 0, 0] = -0.5
    with pytest.raises(CleverError, match=r"image 1 holds values from -0.5 to"):
        scores(images, clip=(0, 1))
    with pytest.raises(CleverError, match="image 1"):
        scores(images, clip=(0, math.inf))
    scores(images, clip=(-math.inf, 1))
    scores(images, clip=(-1, 1))
    scores(images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rounding_at_the_ends_of_the_clip_is_let_be(dtype):
    mean, std = 0.485, 0.229
    low, high = (0 - mean) / std, (1 - mean) / std
    images = IMAGES.clone()
    images[0, 0, :2] = torch.tensor([0.0, 1.0])
    normalised = ((images - mean) / std).to(dtype)
    settings = check_settings(2, None, "all", 2, 2, (low, high), 0)
    check_batch(normalised, None, None, model().to(dtype), None, dtype, settings)
    back = normalised * std + mean  # a little off 0 and 1
    settings = check_settings(2, None, "all", 2, 2, (0, 1), 0)
    check_batch(back, None, None, model().to(dtype), None, dtype, settings)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_scores_without_a_radius_are_in_the_units_of_the_images(p):
    class Divided(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model()

        def forward(self, x):
            return self.inner(x / 256)

    found = cx.clever_score(model(), IMAGES, norm=p, clip=(0, 1), **FEW)
    bytes_ = cx.clever_score(Divided().eval(), IMAGES * 256, norm=p, clip=(0, 256), **FEW)
    np.testing.assert_allclose(bytes_.scores[p], 256 * found.scores[p], rtol=1e-4)
    assert bytes_.metadata["warnings"] == found.metadata["warnings"] == []


def test_a_doubt_is_said_before_the_first_gradient():
    def gradients_come_later(done, _):
        assert done == 0 or len(heard) == 1

    shares = nn.Sequential(model(), nn.Softmax(dim=1)).eval()
    with pytest.warns(UserWarning, match="probabilities") as heard:
        cx.clever_score(shares, IMAGES, progress=gradients_come_later, **FEW)
