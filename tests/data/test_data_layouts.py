"""Public data sets as they are published: their labels are right, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from layouts import (
    IMAGENETTE,
    NAMES,
    VALIDATION,
    WORDNET_IDS,
    archive,
    hub,
    ilsvrc,
    image_folder,
    kaggle,
    parquet,
    picture,
    put,
    save_to_disk,
    table,
    tiny_imagenet,
    validation_names,
)

from clever_ext.data import (
    ImageSource,
    Preprocessing,
    imagenet_class_names,
    load,
    open_images,
    resolve,
)
from clever_ext.errors import CleverError
from clever_ext.findings import of_concern

SMALL = Preprocessing(8, 8)
VALIDATION_LABELS = [VALIDATION[name] for name in validation_names()]


def labels_of(source: ImageSource) -> list:
    return [record.label for record in source]


def concerns(source: ImageSource) -> str:
    return "\n".join(map(str, of_concern(source.findings)))


def numbers(source: ImageSource, n_classes: int = 1000) -> list:
    names = imagenet_class_names() if n_classes == 1000 else None
    return labels_of(resolve(source, n_classes, names))


# ---------------------------------------------------------------- folders


def test_image_folder(tmp_path: Path) -> None:
    source = open_images(image_folder(tmp_path, WORDNET_IDS, each=1))
    assert numbers(source) == list(range(1000))
    assert source.labels_from == "the names of the folders"
    assert not concerns(source)


def test_the_training_pictures_of_tiny_imagenet(tmp_path: Path) -> None:
    source = open_images(tiny_imagenet(tmp_path) / "train")
    assert labels_of(source) == [record.name[:9] for record in source]
    assert len(source) == 6
    assert not concerns(source)


def test_the_validation_pictures_of_tiny_imagenet(tmp_path: Path) -> None:
    root = tiny_imagenet(tmp_path) / "val"
    source = open_images(root)
    assert labels_of(source) == [None] * 3
    assert source.labels_from == ""
    assert f"--labels '{root}/val_annotations.txt'" in concerns(source)
    for folder in (root, root / "images"):
        source = open_images(folder, labels=root / "val_annotations.txt")
        assert labels_of(source) == ["n01443537", "n01641577", "n01629819"]
        assert labels_of(open_images(**source.arguments)) == labels_of(source)


def test_splits_of_tiny_imagenet_are_not_mixed(tmp_path: Path) -> None:
    root = tiny_imagenet(tmp_path)
    with pytest.raises(CleverError, match="several splits: test, train, validation"):
        open_images(root)
    part = open_images(root, split="train")
    assert list(part) == list(open_images(root / "train"))
    assert len(open_images(root, include="train/*")) == 6


def test_ilsvrcs_own_numbers_are_not_those_of_models(tmp_path: Path) -> None:
    root = ilsvrc(tmp_path)
    source = open_images(root / "val")
    assert labels_of(source) == [None] * 3
    assert "val_image_to_1k_label.json" in concerns(source)
    assert labels_of(open_images(root)) == [None] * 3
    with pytest.raises(CleverError, match="ILSVRC's ground truth has numbers of its own"):
        open_images(root / "val", labels=root / "ILSVRC2012_validation_ground_truth.txt")


def test_imagenet_of_kaggle(tmp_path: Path) -> None:
    root = kaggle(tmp_path)
    source = open_images(
        root / "ILSVRC/Data/CLS-LOC/val",
        labels=root / "LOC_val_solution.csv",
        label_map=root / "LOC_synset_mapping.txt",
    )
    assert numbers(source) == VALIDATION_LABELS


def test_imagenette_as_folders(tmp_path: Path) -> None:
    ids = [WORDNET_IDS[n] for n in IMAGENETTE]
    for split in ("train", "val"):
        image_folder(tmp_path / split, ids)
    (tmp_path / "noisy_imagenette.csv").write_text("path,noisy_labels_0\ntrain/a.JPEG,n01440764\n")
    with pytest.raises(CleverError, match=r"splits: train, validation.*--split validation"):
        open_images(tmp_path)
    source = open_images(tmp_path, split="validation")
    assert list(source) == list(open_images(tmp_path / "val"))
    assert numbers(source, 10) == [n for n in range(10) for _ in range(2)]
    assert numbers(source) == [n for n in IMAGENETTE for _ in range(2)]
    with pytest.raises(CleverError, match="10 WordNet ids for 1000 classes"):
        resolve(source, 1000)


# ---------------------------------------------------------------- tables


def write(root: Path, **tables) -> Path:
    (root / "data").mkdir(parents=True)
    for split, content in tables.items():
        (root / f"data/{split}-00000-of-00001.parquet").write_bytes(parquet(content))
    (root / "README.md").write_text("---\n---\n")
    return root


def test_imagenet_as_tables(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        train=table({"label": [0, 1]}, {"label": NAMES}),
        validation=table({"label": [9, 65, 999]}, {"label": NAMES}),
        test=table({"label": [-1, -1]}, {"label": NAMES}),
    )
    with pytest.raises(CleverError, match="several splits: test, train, validation"):
        open_images(root)
    source = open_images(root, split="val")
    assert numbers(source) == [9, 65, 999]
    assert not concerns(resolve(source, 1000, imagenet_class_names()))
    assert load(source[2], SMALL).shape == (3, 8, 8)
    unlabelled = open_images(root, split="test")
    assert unlabelled.labels_from == ""
    assert labels_of(unlabelled) == [None, None]
    assert "the column 'label' holds none" in concerns(unlabelled)


def test_cifar_100(tmp_path: Path) -> None:
    fine, coarse = [f"fine{n}" for n in range(100)], [f"coarse{n}" for n in range(20)]
    content = table(
        {"fine_label": [19, 29], "coarse_label": [11, 15]},
        {"fine_label": fine, "coarse_label": coarse},
        column="img",
        kind="PNG",
    )
    root = write(tmp_path, test=content)
    with pytest.raises(
        CleverError, match=r"'fine_label', 'coarse_label'.*--label-column fine_label"
    ):
        open_images(root)
    source = open_images(root, label_column="fine_label")
    assert numbers(source, 100) == [19, 29]
    assert source.labels_from == "the column 'fine_label'"
    assert numbers(open_images(root, label_column="coarse_label"), 20) == [11, 15]
    with pytest.raises(CleverError, match="has no 'label' for --label-column"):
        open_images(root, label_column="label")


def test_mnist_in_a_hubs_cache(tmp_path: Path) -> None:
    digits = {"label": [str(n) for n in range(10)]}
    content = parquet(table({"label": [7, 2, 1]}, digits, kind="PNG", mode="L"))
    snapshot = hub(
        tmp_path,
        {
            "mnist/test-00000-of-00001.parquet": content,
            "mnist/train-00000-of-00001.parquet": content,
            "README.md": b"---",
        },
    )
    with pytest.raises(CleverError, match=r"cache of Hugging Face's hub.*/snapshots/77f32790"):
        open_images(snapshot.parent.parent)
    with pytest.raises(CleverError, match="several splits"):
        open_images(snapshot)
    source = open_images(snapshot, split="test")
    assert numbers(source, 10) == [7, 2, 1]
    assert load(source[0], SMALL).shape == (3, 8, 8)


def test_pictures_in_a_hubs_cache(tmp_path: Path) -> None:
    snapshot = hub(tmp_path, {f"val/{name}/0.jpg": picture(3) for name in ("cat", "dog")})
    source = open_images(snapshot, split="val")
    assert labels_of(source) == ["cat", "dog"]
    assert load(source[1], SMALL).shape == (3, 8, 8)
    assert any("0 folders and 2 files" in each.said for each in source.findings)


def test_imagenette_as_a_table_is_numbered_by_its_names(tmp_path: Path) -> None:
    names = [imagenet_class_names()[n] for n in IMAGENETTE]
    root = write(tmp_path, validation=table({"label": list(range(10))}, {"label": names}))
    source = open_images(root)
    assert numbers(source) == IMAGENETTE
    assert numbers(source, 10) == list(range(10))
    other = table({"label": [0, 1]}, {"label": ["tench", "English springer"] + ["x"] * 8})
    (root / "data/validation-00000-of-00001.parquet").write_bytes(parquet(other))
    with pytest.raises(CleverError, match=r"the data has 10 classes, 'tench'.*--label-map FILE"):
        numbers(open_images(root))


@pytest.mark.parametrize("shards", [1, 2])
def test_a_data_set_saved_to_disk(tmp_path: Path, shards: int) -> None:
    content = table({"label": [0, 1, 2]}, {"label": ["cat", "dog", "bird"]})
    source = open_images(save_to_disk(tmp_path / "set", content, shards))
    assert labels_of(source) == [0, 1, 2]
    assert labels_of(resolve(source, 3, ["bird", "cat", "dog"])) == [1, 2, 0]
    assert any(".arrow" in each.said for each in source.findings)


def test_several_splits_saved_to_disk(tmp_path: Path) -> None:
    names = {"label": ["cat", "dog"]}
    for split, labels in (("train", [0, 1]), ("test", [1])):
        save_to_disk(tmp_path / split, table({"label": labels}, names))
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    with pytest.raises(CleverError, match="several splits: test, train"):
        open_images(tmp_path)
    assert labels_of(open_images(tmp_path, split="test")) == [1]
    assert labels_of(open_images(tmp_path, split="train")) == [0, 1]


# ---------------------------------------------------------------- archives


@pytest.mark.parametrize(
    "member",
    [
        (".cls", b"9\n"),
        (".cls.txt", b"9"),
        (".label", b"9"),
        (".target.txt", b"9"),
        (".class_id", b"9"),
        (".json", b'{"label": 9, "caption": "a hen", "width": 8}'),
        (".json", b'{"class_id": 9}'),
        (".json", b'{"fine_label": 9.0}'),
    ],
)
def test_webdataset(tmp_path: Path, member) -> None:
    for shard in range(2):
        members = {}
        for n in range(2):
            members[f"{shard}{n}.jpg"] = picture(n)
            members[f"{shard}{n}{member[0]}"] = member[1]
            members[f"{shard}{n}.txt"] = b"a hen"
        archive(tmp_path / f"imagenet-validation-{shard:04d}.tar", members)
    source = open_images(tmp_path)
    assert labels_of(source) == [9] * 4
    assert member[0] in source.labels_from
    assert not concerns(source)


def test_an_archive_of_class_folders(tmp_path: Path) -> None:
    members = {f"./val/{name}/0.JPEG": picture() for name in ("n01440764", "n01443537")}
    source = open_images(archive(tmp_path / "val.tar", members))
    assert labels_of(source) == ["n01440764", "n01443537"]


def test_the_archives_of_imagenets_classes(tmp_path: Path) -> None:
    for name in WORDNET_IDS[:2]:
        archive(tmp_path / f"{name}.tar", {f"{name}_{n}.JPEG": picture() for n in range(2)})
    assert labels_of(open_images(tmp_path)) == [name for name in WORDNET_IDS[:2] for _ in range(2)]


# ---------------------------------------------------------------- arrays


def test_keras_and_medmnist_arrays(tmp_path: Path) -> None:
    pixels, labels = np.zeros((3, 8, 8), np.uint8), np.array([3, 1, 2], np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    with pytest.raises(CleverError, match=r"'x_train', 'x_test'.*--image-column x_train"):
        open_images(tmp_path / "mnist.npz")
    source = open_images(tmp_path / "mnist.npz", image_column="x_test", label_column="y_test")
    assert labels_of(source) == [3, 1, 2]
    np.savez(tmp_path / "m.npz", test_images=pixels, test_labels=labels[:, None])
    assert labels_of(open_images(tmp_path / "m.npz")) == [3, 1, 2]


def test_cifar_10_c(tmp_path: Path) -> None:
    np.save(tmp_path / "fog.npy", np.zeros((3, 8, 8, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.array([3, 8, 8]))
    source = open_images(tmp_path / "fog.npy")
    assert "with a .npy file of labels in order" in concerns(source)
    source = open_images(tmp_path / "fog.npy", labels=tmp_path / "labels.npy", include="[12]")
    assert labels_of(source) == [8, 8]
    np.save(tmp_path / "labels.npy", np.array([3, 8]))
    with pytest.raises(CleverError, match=r"2 labels in order, and there are 3 pictures"):
        open_images(tmp_path / "fog.npy", labels=tmp_path / "labels.npy")


# ---------------------------------------------------------------- what is left out


def test_pictures_that_are_not_read_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "n01440764/a.jpg", "n01443537/b.jfif", "n01443537/c.jpe")
    for name in ("d.tif", "e.tif", "f", "g.PPM"):
        (tmp_path / "n01443537" / name).write_bytes(picture())
    (tmp_path / "README").write_text("x")
    (tmp_path / "classes.txt").write_text("x")
    source = open_images(tmp_path)
    assert labels_of(source) == ["n01440764", "n01443537", "n01443537"]
    assert load(source[1], SMALL).shape == (3, 8, 8)
    said = concerns(source)
    assert "2 .tif ('n01443537/d.tif', ...)" in said
    assert "1 .PPM ('n01443537/g.PPM')" in said
    assert "1 without an ending ('n01443537/f')" in said
    assert "README" not in said


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "all", "cat/0.png", "dog/0.png", "dog/1.png")
    subset = put(tmp_path / "subset", "bird/0.png")
    (subset / "dog").symlink_to(tmp_path / "all/dog")
    (subset / "bird/round").symlink_to("..")
    source = open_images(subset)
    assert [record.name for record in source] == ["bird/0.png", "dog/0.png", "dog/1.png"]
    assert load(source[2], SMALL).shape == (3, 8, 8)
    said = [each.said for each in source.findings]
    assert "symbolic links: 1 folder and 0 files, 'dog' the first" in said
    assert any("1 link left out that lead back" in each for each in said)
    source = open_images(subset, follow_links=False)
    assert labels_of(source) == ["bird"]
    assert "1 linked folder left out, 'dog'" in concerns(source)


def test_a_logo_beside_tables_is_left_out_and_a_table_beside_pictures_too(tmp_path: Path) -> None:
    root = write(tmp_path / "a", test=table({"label": [0, 1]}, {}))
    put(root, "logo.png")
    source = open_images(root)
    assert labels_of(source) == [0, 1]
    assert "1 .png ('logo.png')" in concerns(source)
    root = image_folder(tmp_path / "b", ["cat", "dog"])
    (root / "metadata.parquet").write_bytes(parquet(table({"label": [0]}, {}).drop(["image"])))
    source = open_images(root)
    assert labels_of(source) == ["cat", "cat", "dog", "dog"]
    assert "1 .parquet ('metadata.parquet')" in concerns(source)
