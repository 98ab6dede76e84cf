"""Real runs to report on: small networks trained on the digits that foolbox ships."""

import shutil
from pathlib import Path

import pandas as pd
import torch
from conftest import on_one_thread

import clever_ext as cx
from clever_ext.data import Preprocessing, load, open_images, package_folder
from clever_ext.results.result import make_table

#: As hostile as a file name may be, and a label that is wrong.
HOSTILE = '<img src=x onerror=alert(1)> & "quoted"_5.png'
BROKEN = "broken_1.png"

LABELS = r"_(\d+)\.png$"
PREPROCESSING = {"image_size": 28, "resize": 28, "interpolation": "bicubic"}


def make_pictures(folder: Path) -> None:
    """Foolbox's 20 digits, one of them again under a hostile name, and a broken file."""
    folder.mkdir()
    files = sorted((package_folder("foolbox") / "data").glob("mnist_*.png"))
    for file in files:
        shutil.copy(file, folder / file.name)
    shutil.copy(files[0], folder / HOSTILE)
    (folder / BROKEN).write_bytes(files[0].read_bytes()[:60])


def trained(x: torch.Tensor, y: torch.Tensor, seed: int) -> torch.nn.Module:
    """Train a small network until it knows the digits."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 4, 2, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 16, 4, 2, 1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(784, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert (model(x).argmax(dim=1) == y).all()
    return model.eval()


@on_one_thread()
def make_run(folder: Path, seed: int, most: int = 22, **settings) -> cx.CleverResult:
    """Train a network and score it on the pictures, with all that a run's metadata tells."""
    source = open_images(str(folder), label_pattern=LABELS)
    records = [record for record in source if record.name != BROKEN][:most]
    x = torch.stack([load(record, Preprocessing(**PREPROCESSING)) for record in records])
    y = torch.tensor([record.label for record in records])
    digits = torch.tensor([record.name != HOSTILE for record in records])
    result = cx.clever_score(
        trained(x[digits], y[digits], seed),
        x,
        **{"norm": [2, "inf"], "radius": {2: 4, "inf": 0.3}, "targets": "top2"} | settings,
        labels=y,
        n_batches=16,
        batch_samples=3,
        clip=(0, 1),
        prepare="none",
        image_ids=[record.image_id for record in records],
        model_name=f"digits-{seed}",
    )
    names = {record.image_id: record.name for record in source}
    result.table["image"] = [names[number] for number in result.table["image_id"]]
    broken = next(record for record in source if record.name == BROKEN)
    estimator = result.metadata["settings"]["estimator"]
    error = make_table(
        {
            "image_id": [broken.image_id],
            "image": [BROKEN],
            "label": [1],
            "estimator": [estimator],
            "status": ["error"],
            "error": ["it cannot be decoded"],
        }
    )
    metadata = result.metadata | {
        "created": "2026-11-25T08:50:54+00:00",
        "preprocessing": PREPROCESSING,
        "data": {"path": str(folder), "arguments": source.arguments, "images": len(source)},
        "class_names": [f"digit {n}" for n in range(10)],
    }
    return cx.CleverResult(pd.concat([result.table, error], ignore_index=True), metadata)
