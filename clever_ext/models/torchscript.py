"""TorchScript files: `torchscript:FILE`, of `torch.jit.save`, which hold network and weights.

Their code is TorchScript's, which has no access to files or to Python; still, load only those that
you trust.
"""

from __future__ import annotations

import warnings

import torch

from ..errors import in_short
from .source import DEFAULT_IMAGE_SIZE, Network, Request, refuse_weights
from .weights import check_file, unreadable


def load(request: Request) -> Network:
    """Load a TorchScript file."""
    path = request.folder
    refuse_weights(request, "a TorchScript file")
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is said to be old at each use
            model = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # a damaged archive raises nearly anything
        raise unreadable(path, in_short(error), "a file of `torch.jit.save`") from error
    return Network(model, request.spec, request.image_size or DEFAULT_IMAGE_SIZE)
