"""Normalisation, which is part of a model: it takes pixels in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ..arguments import shown
from ..errors import CleverError

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, in units of pixels in [0, 1]."""


class Normalized(nn.Module):
    """A model behind its normalisation: x -> model((x - mean) / std), channel by channel.

    Scores are then in units of pixels in [0, 1].

    Args:
        model: Module or callable that takes normalised input [B, C, H, W]; the mode that it is in
            stays.
        mean: One number per channel, in units of pixels in [0, 1].
        std: One positive number per channel, in the same units.

    Raises:
        CleverError: If mean and std are not as many finite numbers in these units, a standard
            deviation is not positive, or pixels have another number of channels.

    >>> import clever_ext as cx, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    >>> pixels_in = cx.Normalized(model, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    >>> pixels_in(torch.full((2, 3, 4, 4), 0.5)).shape
    torch.Size([2, 3])
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        model: nn.Module | Callable[[torch.Tensor], Any],
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        super().__init__()
        if isinstance(model, Normalized):
            raise CleverError(
                "the model is normalised already",
                "one normalisation in front of a model",
                "leave mean and std out, or give the .model inside",
            )
        mean, std = _listed("mean", mean), _listed("std", std)
        check_normalisation(mean, std, len(mean or std or ()))
        self.model = model
        parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
        device = getattr(next(parameters, None), "device", None)
        for name, values in (("mean", mean), ("std", std)):
            own = torch.tensor(values, dtype=torch.float32, device=device)
            self.register_buffer(name, own.view(-1, 1, 1))
        self.training = getattr(model, "training", False)  # the modes of its parts stay, too

    def forward(self, pixels: torch.Tensor) -> Any:
        """Logits [B, K] of pixels [B, C, H, W]."""
        if pixels.dim() < 3 or pixels.shape[-3] != len(self.mean):
            raise CleverError(
                f"images of shape {list(pixels.shape[1:])} for a normalisation of {len(self.mean)} "
                "channels",
                f"images of shape [{len(self.mean)}, H, W]",
                "give one mean and one std for each channel of the images",
            )
        # Of the pixels' device and type: a callable does not tell its own.
        return self.model((pixels - self.mean.to(pixels)) / self.std.to(pixels))

    def words(self) -> str:
        """Say what it does."""
        mean, std = (_numbers(each.flatten().tolist()) for each in (self.mean, self.std))
        return f"mean {mean}, std {std}"


def _listed(name: str, values: Any) -> list[float] | None:
    """Return numbers as a list, whatever holds them."""
    if values is None:
        return None
    try:
        numbers: list[float] = torch.as_tensor(values, dtype=torch.float64).flatten().tolist()
    except (TypeError, ValueError, RuntimeError) as error:
        raise CleverError(
            f"{name} is {shown(values)}", "one number for each channel", "give a list of numbers"
        ) from error
    return numbers


def check_normalisation(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int | None
) -> Normalisation | None:
    """Read a normalisation; None where there is none.

    Args:
        mean: One number per channel, given together with `std`.
        std: Likewise.
        channels: How many; None where that is not known, and three are expected.

    Raises:
        CleverError: If there is another number of them, one is not finite or not in units of pixels
            in [0, 1], or a standard deviation is not positive.
    """
    mean, std = _listed("mean", mean), _listed("std", std)
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        given = "std" if mean is None else "mean"
        raise CleverError(f"only {given} is given", "both mean and std, or neither", "give both")
    count = {
        None: "three finite numbers, for red, green and blue; for a grey picture channels=1",
        3: "three finite numbers, for red, green and blue",
        1: "one finite number, for grey",
    }.get(channels, f"{channels} finite numbers")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != (channels or 3) or not all(-1e6 < value < 1e6 for value in values):
            example = _numbers([0.5] * (channels or 3))
            raise CleverError(
                f"{name} is {_shown(values)}",
                count,
                f"give {name} in units of pixels in [0, 1], such as {example}",
            )
    if min(std) <= 0:
        raise CleverError(
            f"std is {_shown(std)}",
            "numbers above zero, since the pixels are divided by them",
            "give std in units of pixels in [0, 1], such as " + _numbers([0.25] * len(std)),
        )
    if max(mean) > 1 or max(std) > 2:
        # The mean of pixels in [0, 1] is no larger. A std of 1 beside one is in its units.
        of_mean, of_std = (255 if max(mean) > 1 else 1), 255
        raise CleverError(
            f"mean is {_numbers(mean)} and std is {_numbers(std)}: units of pixels in 0..255",
            "units of pixels in [0, 1], which scores are in",
            f"divide by 255: mean {_numbers(m / of_mean for m in mean)}, "
            f"std {_numbers(s / of_std for s in std)}",
        )
    return tuple(map(float, mean)), tuple(map(float, std))


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _shown(values: Iterable[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
