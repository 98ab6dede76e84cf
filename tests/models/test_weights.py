"""Reading weights from what people have on their disks, and naming them by a digest."""

import argparse
import hashlib
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import clever_ext as cx
from clever_ext.errors import CleverError
from clever_ext.models.weights import load_weights, weights_digest


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).eval()


def digest(**tensors):
    module = nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    return weights_digest(module)


# --- reading -----------------------------------------------------------------------------------

STATE = network(1).state_dict()


def prefixed(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


def load(tmp_path, content, name="weights.pt", model=None):
    path = tmp_path / name
    torch.save(content, path)
    model = network() if model is None else model
    return model, load_weights(model, path)


def same(model, state=STATE):
    own = model.state_dict()
    return set(own) == set(state) and all(torch.equal(own[name], state[name]) for name in state)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt", "W.BIN"])
def test_a_plain_state_dict_needs_no_words(tmp_path, name):
    model, findings = load(tmp_path, STATE, name)
    assert same(model)
    assert findings == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": STATE, "epoch": 3}, "the entry 'state_dict'"),
        ({"model": STATE, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, "'model'"),
        ({"model_state_dict": STATE, "loss": torch.tensor(1.0)}, "'model_state_dict'"),
        ({"net": prefixed("module."), "acc": 93.1}, "'net'"),  # as pytorch-cifar has it
        ({"ema": STATE}, "'ema'"),
        ({"my_own_name": STATE, "step": 1}, "'my_own_name'"),
        ({"model": {"state_dict": STATE, "depth": 3}}, "'model'"),
        ({"args": argparse.Namespace(lr=0.1), "model": OrderedDict(STATE)}, "'model'"),
    ],
)
def test_a_checkpoint_is_opened_and_it_is_said(tmp_path, content, said):
    model, findings = load(tmp_path, content)
    assert same(model)
    assert said in findings[0].said
    assert all(each.well for each in findings)


def test_a_checkpoint_of_several_networks_says_which_was_taken(tmp_path):
    other = network(2).state_dict()
    model, (found,) = load(tmp_path, {"state_dict_ema": other, "state_dict": STATE})
    assert same(model)
    assert "holds state_dict_ema too" in found.said
    assert "state_dict_ema" in found.fix
    with pytest.raises(CleverError, match="hold a dict with generator, critic"):
        load(tmp_path, {"generator": other, "critic": STATE})


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "encoder.net.", "m.module."]
)
def test_a_prefix_of_all_names_is_taken_off(tmp_path, prefix):
    model, findings = load(tmp_path, prefixed(prefix))
    assert same(model)
    assert all(each.well for each in findings)
    safetensors.torch.save_file(prefixed(prefix), tmp_path / "w.safetensors")
    model = network()
    load_weights(model, tmp_path / "w.safetensors")
    assert same(model)


def test_marks_of_torch_inside_names_are_taken_out(tmp_path):
    inside = {name.replace("0.", "0._orig_mod."): value for name, value in STATE.items()}
    assert same(load(tmp_path, inside)[0])


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_a_model_that_is_wrapped_reads_weights_of_the_plain_one(tmp_path, wrap):
    inner = network()
    _, findings = load(tmp_path, STATE, model=wrap(inner))
    assert same(inner)
    assert all(each.well for each in findings)


def test_what_a_training_module_has_beside_the_network_is_left_out_and_said(tmp_path):
    lightning = {
        "pytorch-lightning_version": "2.0",
        "state_dict": prefixed("model.") | {"loss.weight": torch.ones(3)},
        "hyper_parameters": {"lr": 0.1},
    }
    model, findings = load(tmp_path, lightning, "last.ckpt")
    assert same(model)
    assert "were read without model.; 1 others were left out" in findings[1].said
    assert "loss.weight" in findings[1].fix


def test_names_that_fit_are_left_as_they_are(tmp_path):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = network()

    model, findings = load(tmp_path, prefixed("module."), model=Wrapped().eval())
    assert same(model.module)
    assert findings == []
    with pytest.raises(CleverError, match=r"missing: 2\.bias"):
        load(tmp_path, {name: value for name, value in STATE.items() if name != "2.bias"})


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64, torch.qint8]
)
def test_other_kinds_of_numbers_are_not_taken_for_weights(tmp_path, dtype):
    weight = STATE["2.weight"]
    if dtype == torch.qint8:
        weight = torch.quantize_per_tensor(weight, 0.1, 0, dtype)
    with pytest.raises(CleverError, match=rf"hold {dtype} for 2\.weight.*torch\.float32"):
        load(tmp_path, STATE | {"2.weight": weight.to(dtype)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_another_length_are_weights(tmp_path, dtype):
    given = {n: v.to(dtype) if v.is_floating_point() else v for n, v in STATE.items()}
    model, _ = load(tmp_path, given)
    assert torch.equal(model[2].weight, given["2.weight"].float())


@pytest.mark.parametrize("content", [[1, 2], 3, {}, {"epoch": 3}, {"a": {"b": 1}}, {1: STATE[
    "2.bias"]}, "text"])  # fmt: skip
def test_what_holds_no_tensors_by_name(tmp_path, content):
    with pytest.raises(CleverError, match="hold a "):
        load(tmp_path, content)


# --- digest ------------------------------------------------------------------------------------


def test_the_digest_sees_names_dtypes_shapes_and_bytes():
    base = torch.arange(6.0)
    same = {digest(a=base, b=base), digest(b=base, a=base), digest(a=base.clone(), b=base)}
    others = [
        digest(a=base, c=base),
        digest(a=base, b=base.double()),
        digest(a=base, b=base.view(2, 3)),
        digest(a=base, b=base + 1),
        digest(a=base.view(torch.int32), b=base),
    ]
    assert len(same) == 1
    assert len({*same, *others}) == 1 + len(others)
    image = torch.rand(2, 3, 4, 4)
    assert digest(a=image) == digest(a=image.to(memory_format=torch.channels_last))
    # Known: the SHA-256 of the bytes as the docstring lists them, found with sha256sum.
    assert digest(a=torch.tensor(1, dtype=torch.uint8)) == KNOWN_DIGEST
    assert len({digest(a=torch.tensor(1.0, dtype=d)) for d in (torch.bfloat16, torch.bool)}) == 2


# printf 'a\0torch.uint8\0()\0\1' | sha256sum
KNOWN_DIGEST = "ccb1f24ce9d8e3f1b836bde488e1dd807edafdababe82da2015eae35e84c14a3"


BASE = torch.arange(1.0, 7.0)
KINDS = {
    "scalar": lambda x: x[0],
    "expanded": lambda x: x[:1].expand(6),
    "strided": lambda x: x[::2],
    "transposed": lambda x: x.view(2, 3).T,
    "complex": lambda x: x.to(torch.complex64),
    "conjugate": lambda x: torch.complex(x, x).conj(),
    "negative view": lambda x: torch.complex(x, x).conj().imag,
    "bfloat16": lambda x: x.bfloat16(),
    "float8": lambda x: x.to(torch.float8_e4m3fn),
    "uint16": lambda x: x.to(torch.uint16),
    "nested": lambda x: torch.nested.nested_tensor([x, x[:2]]),
    "jagged": lambda x: torch.nested.nested_tensor([x, x[:2]], layout=torch.jagged),
    "sparse": lambda x: x.view(2, 3).to_sparse(),
    "csr": lambda x: x.view(2, 3).to_sparse_csr(),
    "csc": lambda x: x.view(2, 3).to_sparse_csc(),
    "bsr": lambda x: x.view(2, 3).to_sparse_bsr((1, 1)),
    "mkldnn": lambda x: x.view(2, 3).to_mkldnn(),
    "quantised": lambda x: torch.quantize_per_tensor(x, 0.5, 0, torch.qint8),
    "by channel": lambda x: torch.quantize_per_channel(
        x.view(2, 3), torch.tensor([0.5, 0.4]), torch.tensor([0, 0]), 0, torch.qint8
    ),
}


@pytest.mark.filterwarnings("ignore")  # of kinds that torch calls prototypes
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tensor_has_a_digest_of_its_values(kind):
    made = KINDS[kind]
    assert digest(a=made(BASE)) == digest(a=made(BASE.clone()))
    assert digest(a=made(BASE)) != digest(a=made(BASE + 1))
    assert digest(a=made(BASE)) != digest(b=made(BASE))


def test_views_have_the_digest_of_their_copies():
    for kind in ("scalar", "expanded", "strided", "transposed", "conjugate", "negative view"):
        view = KINDS[kind](BASE)
        assert digest(a=view) == digest(a=view.resolve_conj().resolve_neg().clone())


def test_the_digest_of_ordinary_weights_is_that_of_their_bytes():
    found = hashlib.sha256()
    for name, tensor in sorted(STATE.items()):
        found.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        found.update(tensor.numpy().tobytes())
    assert weights_digest(network(1)) == found.hexdigest()


def test_a_buffer_without_values_counts_by_its_shape():
    meta = torch.empty(3, device="meta")
    assert digest(a=meta) == digest(a=meta.clone()) != digest(a=torch.empty(4, device="meta"))


@pytest.fixture
def mesh(tmp_path):
    """One process that believes itself to be one of several."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield torch.distributed.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_a_distributed_tensor_counts_as_a_whole(mesh):
    from torch.distributed.tensor import Shard, distribute_tensor

    def sharded(x):
        return distribute_tensor(x, mesh, [Shard(0)])

    assert digest(a=sharded(BASE)) == digest(a=BASE)
    assert digest(a=sharded(BASE)) != digest(a=sharded(BASE + 1))


class Stateful(nn.Linear):
    def get_extra_state(self):
        return {"anything": object()}

    def set_extra_state(self, state):
        pass


class Raising(nn.Linear):
    def state_dict(self, *_args, **_named):
        raise NotImplementedError("shards are elsewhere")


def test_extra_state_of_any_type_is_let_be():
    assert len(weights_digest(Stateful(3, 2))) == 64


def test_a_model_that_hides_its_weights_is_scored_and_it_is_said():
    torch.manual_seed(0)
    model, images = Raising(4, 3).eval(), torch.rand(2, 4)
    with pytest.raises(CleverError, match="NotImplementedError: shards are elsewhere"):
        weights_digest(model)
    plain = nn.Linear(4, 3).eval()
    plain.load_state_dict({"weight": model.weight.detach(), "bias": model.bias.detach()})
    few = {"n_batches": 3, "batch_samples": 4}
    with pytest.warns(UserWarning, match="does not give its weights"):
        found = cx.clever_score(model, images, **few)
    assert found.metadata["model"]["digest"] is None
    assert "shards are elsewhere" in found.metadata["warnings"][0]["said"]
    assert (found.scores[2] == cx.clever_score(plain, images, **few).scores[2]).all()


def test_weights_are_read_before_the_first_gradient():
    order = []

    class Noted(nn.Linear):
        def state_dict(self, *args, **named):
            order.append("digest")
            return super().state_dict(*args, **named)

        def forward(self, x):
            order.append("pass")
            return super().forward(x)

    cx.clever_score(Noted(4, 3).eval(), torch.rand(2, 4), n_batches=3, batch_samples=4)
    assert order.index("digest") < order.index("pass")


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.bool_])
def test_numbers_of_numpy_beside_the_weights_are_read(kind, tmp_path):
    """As training scripts save their best accuracy, also under the name that numpy 1 had."""
    layer = nn.Linear(2, 3)
    torch.save({"state_dict": layer.state_dict(), "best": kind(1)}, tmp_path / "new.pt")
    with (
        zipfile.ZipFile(tmp_path / "new.pt") as new,
        zipfile.ZipFile(tmp_path / "old.pt", "w") as old,
    ):
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core", b"numpy.core"))
    for name in ("new.pt", "old.pt"):
        model = nn.Linear(2, 3)
        load_weights(model, tmp_path / name)
        assert torch.equal(model.weight, layer.weight)
