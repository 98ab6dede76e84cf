"""Classifiers of RobustBench by name, against its own way to load and feed them."""

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from library_stand_ins import photographs, randomised, without_a_connection
from peers import peer
from torch import nn

from clever_ext.cli import main
from clever_ext.errors import CleverError
from clever_ext.models import robustbench_models
from clever_ext.models.loaded import LoadedModel
from clever_ext.models.loading import load_model

#: A small network; one whose checkpoint holds two; one that is prepared for ImageNet.
MODELS = [
    ("cifar10", "Linf", "Rade2021Helper_R18_extra"),
    ("cifar10", "Linf", "Andriushchenko2020Understanding"),
    ("cifar100", "Linf", "Rebuffi2021Fixing_R18_ddpm"),
    ("imagenet", "Linf", "Salman2020Do_R18"),
]


@pytest.fixture(scope="module")
def zoo():
    """RobustBench's own module of models, which stays while it is imported."""
    peer("torchvision")
    for name in ("robustbench", "gdown", "geotorch", "torchdiffeq"):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed")
    with robustbench_models._zoo() as zoo:
        yield zoo


def made(zoo, dataset: str, threat: str, name: str) -> nn.Module:
    models = zoo.all_models[zoo.BenchmarkDataset(dataset)][zoo.ThreatModel(threat)]
    return randomised(models[name]["model"]())


def save(zoo, folder: Path, dataset: str, threat: str, name: str) -> Path:
    """Write a checkpoint of random weights as RobustBench has it."""
    state = made(zoo, dataset, threat, name).state_dict()
    if dataset == "imagenet":  # without what normalises
        state = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    held = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "best": np.float64(0.5)}
    path = folder / dataset / threat / f"{name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"last": state, "best": {}} if name.startswith("Andr") else held, path)
    return path


@pytest.mark.parametrize(("dataset", "threat", "name"), MODELS)
def test_logits_are_those_of_robustbench(zoo, tmp_path, monkeypatch, dataset, threat, name) -> None:
    asked = without_a_connection(monkeypatch)
    path = save(zoo, tmp_path, dataset, threat, name)
    with robustbench_models.safe_values():
        theirs = zoo.load_model(name, model_dir=tmp_path, dataset=dataset, threat_model=threat)
    loaded = load_model(f"robustbench:{dataset}/{threat}/{name}", model_dir=tmp_path)
    size = 224 if dataset == "imagenet" else 32
    assert (loaded.image_size, loaded.preprocessing.channels) == (size, 3)
    pixels = torch.rand(2, 3, size, size)
    with torch.no_grad():
        expected = theirs(pixels)
        assert expected.std() > 0
        assert torch.equal(loaded.model(pixels), expected)
        of_file = load_model(f"robustbench:{dataset}/{threat}/{name}", weights=path)
        assert torch.equal(of_file.model(pixels), expected)
    assert loaded.class_names is not None
    assert len(loaded.class_names) == expected.shape[1]
    assert loaded.findings == ()
    assert asked == []


def test_cifar_classes_have_their_names_in_their_order(zoo, tmp_path: Path) -> None:
    save(zoo, tmp_path, *MODELS[0])
    loaded = load_model("/".join(("robustbench:cifar10", *MODELS[0][1:])), model_dir=tmp_path)
    assert loaded.class_names == (
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    )
    hundred = robustbench_models.CIFAR100_CLASSES
    assert list(hundred) == sorted(set(hundred))


def test_pictures_are_prepared_as_robustbench_prepares_them(zoo, monkeypatch) -> None:
    """All of its models, without their networks."""
    data = peer("robustbench.data")
    monkeypatch.setattr(robustbench_models, "_check_there", lambda *_: None)
    monkeypatch.setattr(robustbench_models, "_load", lambda *_: nn.Identity())
    ways: dict[str | None, LoadedModel] = {}
    for dataset, threats in zoo.all_models.items():
        for threat, models in threats.items():
            for name, model in models.items():
                if model["gdrive_id"]:
                    spec = f"robustbench:{dataset.value}/{threat.value}/{name}"
                    ways.setdefault(model.get("preprocessing"), load_model(spec))
    assert len(ways) == 5
    for way, loaded in ways.items():
        if way is None:  # of CIFAR: no more than their values
            picture = photographs()[0].resize((32, 32))
            assert torch.equal(loaded.preprocessing(picture), data.PREPROCESSINGS[way](picture))
        elif way == "Crop288":  # cut out of pictures as they are
            assert "cuts 288 x 288 out of pictures as they are" in str(loaded.findings[0])
            assert (loaded.image_size, loaded.preprocessing.resize) == (288, 288)
        else:
            assert loaded.findings == ()
            for picture in photographs():
                assert torch.equal(loaded.preprocessing(picture), data.PREPROCESSINGS[way](picture))


def test_networks_of_timms_registry_come_from_torchs_cache(zoo, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = without_a_connection(monkeypatch)
    spec = "robustbench:imagenet/corruptions/Tian2022Deeper_DeiT-S"
    with pytest.raises(CleverError, match=r"fetch https://github.com/.*deeper-deit-s\.pth.*hub"):
        load_model(spec)
    name = "tian2022deeper_deit_s_imagenet_corruptions"
    model = zoo.timm.create_model(name, pretrained=False).eval()
    randomised(model.model)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(model.model.state_dict(), folder / "tian2022deeper-deit-s.pth")
    loaded = load_model(spec)
    pixels = torch.rand(1, 3, 224, 224)
    assert torch.equal(loaded.model(pixels), model(pixels))
    assert loaded.preprocessing.resize == 248
    assert asked == []


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Carmon2019Unlabeled", r"\(did you mean cifar10/Linf/Carmon2019Unlabeled\?\)"),
        ("cifar10/linf/Carmon2019Unlabeled", r"mean cifar10/Linf/Carmon2019Unlabeled\?\)"),
        ("cifar10/Linf/Carmon2019Unlabelled", r"\(did you mean Carmon2019Unlabeled\?\)"),
        ("cifar11/Linf/nobody", r"no model 'cifar11/Linf/nobody'.*with cifar10/Linf, cifar10/L2"),
        ("", "RobustBench has no model ''"),
        ("imagenet/Linf/Standard_R50", r"name it torchvision:resnet50/IMAGENET1K_V1"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(CleverError, match=message):
        load_model(f"robustbench:{name}")


@pytest.mark.usefixtures("zoo")
def test_what_is_not_there_is_named_and_never_fetched_unasked(tmp_path, monkeypatch) -> None:
    asked = without_a_connection(monkeypatch)
    monkeypatch.chdir(tmp_path)
    path = r"models/cifar10/Linf/Standard\.pt \(the folder models is --model-dir\)"
    with pytest.raises(CleverError, match=rf"fetch https://drive\.google\.com/uc\?id=\w+ .*{path}"):
        load_model("robustbench:cifar10/Linf/Standard")
    with pytest.raises(CleverError, match=r"there/cifar10/Linf/Chen2020Adversarial\.pt_m0\.pt and"):
        load_model("robustbench:cifar10/Linf/Chen2020Adversarial", model_dir="there")
    assert asked == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CleverError, match=r"RobustBench cannot load .*ConnectionError"):
        load_model("robustbench:cifar10/Linf/Rade2021Helper_R18_extra", download=True)
    assert "drive.google.com" in asked


def test_what_does_not_go_together(zoo, tmp_path: Path) -> None:
    path = save(zoo, tmp_path, *MODELS[0])
    spec = "/".join(("robustbench:cifar10", *MODELS[0][1:]))
    loaded = load_model(spec, model_dir=tmp_path, mean=(0.5,) * 3, std=(0.5,) * 3)
    (found,) = loaded.findings
    assert "normalises inside" in str(found)
    with pytest.raises(CleverError, match=r"together with weights.*no single file"):
        load_model("robustbench:cifar10/Linf/Chen2020Adversarial", weights=path)
    with pytest.raises(CleverError, match=r"no\.pt' is not a file"):
        load_model(spec, weights=tmp_path / "no.pt")
    torch.save({"state_dict": {"conv.weight": torch.zeros(2)}}, tmp_path / "other.pt")
    with pytest.raises(CleverError, match=r"'other\.pt' cannot be read.*checkpoint of Rade2021"):
        load_model(spec, weights=tmp_path / "other.pt")
    torch.save({"state_dict": nn.Linear(1, 1)}, tmp_path / "code.pt")
    with pytest.raises(CleverError, match=r"code\.pt' are damaged, or refused .*run code"):
        load_model(spec, weights=tmp_path / "code.pt")


def test_a_folder_of_models_is_of_robustbench_alone() -> None:
    with pytest.raises(CleverError, match="model_dir is given for 'timm:resnet50'"):
        load_model("timm:resnet50", model_dir="models")
    with pytest.raises(CleverError, match="Fix: name it robustbench:cifar10/Linf/Standard"):
        load_model("cifar10/Linf/Standard")


def test_on_the_command_line(zoo, tmp_path: Path, capsys) -> None:
    save(zoo, tmp_path, *MODELS[0])
    (tmp_path / "pictures").mkdir()
    photographs()[0].resize((32, 32)).save(tmp_path / "pictures" / "a.png")
    line = f"score --model robustbench:cifar10/Linf/{MODELS[0][2]} --model-dir {tmp_path}"
    line += f" --images {tmp_path / 'pictures'} --labels none --estimator first-order"
    assert main([*line.split(), "--out", str(tmp_path / "run")]) == 0
    assert "airplane" not in capsys.readouterr().err
