"""What models return: logits, or something that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def logits_of(output: Any) -> Any:
    """Return the logits in what a model returned; the output itself where there are none.

    Logits are taken out of what has an attribute or an entry of that name, as outputs of
    transformers, GoogLeNet and Inception have; out of a dictionary or a sequence they are the
    only tensor [B, K], or the first of several.
    """
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else None
    named = getattr(output, "logits", None) if named is None else named
    if isinstance(named, Tensor):
        return named
    tables = tables_in(output)
    return tables[0] if tables else output


def tables_in(output: Any) -> list[Tensor]:
    """Return the tensors [B, K] of floating point numbers in a dictionary or a sequence."""
    if isinstance(output, Mapping):
        output = list(output.values())
    if not isinstance(output, (list, tuple)):
        return []
    tensors = (each for each in output if isinstance(each, Tensor))
    return [each for each in tensors if each.dim() == 2 and each.is_floating_point()]


def is_named(output: Any) -> bool:
    """Tell whether it is sure which part of an output the logits are."""
    if isinstance(output, Tensor) or isinstance(getattr(output, "logits", None), Tensor):
        return True
    if isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        return True
    return len(tables_in(output)) < 2


class LogitsAlone(torch.nn.Module):
    """A model, module or not, that returns more than its logits, as one that returns them alone.

    Args:
        model: Stays as it is; a module is a submodule of this one.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        # Of this module alone: some models cannot be switched, and this is not asked for.
        self.training = bool(getattr(model, "training", False))

    def forward(self, x: Tensor) -> Any:
        """Return the logits [B, K] of points [B, *shape]."""
        return logits_of(self.model(x))
