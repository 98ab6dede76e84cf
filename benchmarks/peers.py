"""Imports torchvision and timm, with which we compare, beside a torch of another build."""

from __future__ import annotations

import importlib
import unittest
from types import ModuleType
from typing import Any

import torch

_definitions: list[Any] = []  # they last as long as they are held


def peer(name: str) -> ModuleType:
    """Import a module of torchvision or timm.

    Raises:
        unittest.SkipTest: it is not installed.
    """
    if not _definitions and not hasattr(torch.ops.torchvision, "nms"):
        # Their CPU and CUDA wheels register these by a library that another torch cannot load.
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for op in ("nms", "qnms"):
            library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _definitions.append(library)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise unittest.SkipTest(f"{name} is not installed ({error})") from error
