"""How many rows have a sign of gradient masking: two networks as they are, and masked.

The clean and the adversarially trained LeNet on foolbox's 20 digits, the runner-up, balls of
several radii in l1, l2 and l-inf, both estimators. A figure is the share of the rows of correctly
classified digits that are flagged, over all balls and estimators.

    python benchmarks/masking.py --out benchmarks/results/masking-cpu.json
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from published import lenet_adversarial, lenet_clean, mnist
from side_by_side import arguments, parsed, share, show, write
from torch import Tensor, nn

import clever_ext as cx
from clever_ext.estimators.tables import MASKING

_RADII = {1.0: [2.0, 20.0], 2.0: [0.2, 2.0], np.inf: [0.001, 0.01, 0.1, 0.3]}


class Masked(nn.Module):
    """A network with a function before it and one behind it."""

    def __init__(
        self,
        network: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], Tensor] = lambda z: z,
    ) -> None:
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels [B, 1, 28, 28] to [B, 10]."""
        return self.after(self.network(self.before(x)))


def _soft_staircase(x: Tensor) -> Tensor:
    return (torch.floor(4 * x) + torch.sigmoid(60 * ((4 * x) % 1 - 0.5))) / 4


#: Functions before or behind the network, by how the docs name them.
MASKS: dict[str, dict[str, Callable[[Tensor], Tensor]]] = {
    "as it is": {},
    "behind softmax(z)": {"after": lambda z: z.softmax(dim=1)},
    "behind softmax(10 z)": {"after": lambda z: (10 * z).softmax(dim=1)},
    "behind softmax(100 z)": {"after": lambda z: (100 * z).softmax(dim=1)},
    "behind tanh(z)": {"after": torch.tanh},
    "behind hardsigmoid(z)": {"after": nn.functional.hardsigmoid},
    "input rounded to eighths": {"before": lambda x: (8 * x).round() / 8},
    "input by a soft staircase of four": {"before": _soft_staircase},
    "input by sigmoid(50 (x - 1/2))": {"before": lambda x: torch.sigmoid(50 * (x - 0.5))},
}


def main() -> None:
    """Score all of them and count."""
    args = parsed(arguments(__doc__))
    images, labels = mnist()
    budgets: list[dict[str, Any]] = [
        {"n_batches": 8, "batch_samples": 8},
        {"estimator": "steepest", "max_gradients": 64},
    ]
    figures = []
    for name, build in (("clean", lenet_clean), ("adversarially trained", lenet_adversarial)):
        for mask, functions in list(MASKS.items())[: 2 if args.quick else None]:
            model = Masked(build(), **functions).eval()
            tables = [
                cx.clever_score(
                    model, images, norm=list(_RADII), radius=_RADII, targets="top2", labels=labels,
                    clip=(0, 1), prepare="none", device_batch=128, **budget,
                ).table
                for budget in budgets
            ]  # fmt: skip
            flags = np.concatenate(
                [table["flags"][table["status"] != "misclassified"] for table in tables]
            )
            signs = np.array([any(word in row for word in MASKING) for row in flags])
            figures.append(share("rows with a sign of masking", f"{name}, {mask}", None, signs))
            show(figures[-1])
    write(
        args.out, figures, seed=0, gradients=64,
        radii={f"{p:g}": radii for p, radii in _RADII.items()},
    )  # fmt: skip


if __name__ == "__main__":
    main()
