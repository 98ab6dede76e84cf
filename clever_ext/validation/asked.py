"""What a validation is asked for. Nothing here needs torch: the command line's help names it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Names of `attacks.ATTACKS`.
ATTACKS = (
    "FMN", "DDN", "CW", "EAD", "FMN-from-start", "PDPGD", "FAB", "boundary", "hop-skip-jump",
    "APGD",
)  # fmt: skip
#: Pictures that are taken where no number is asked for.
LIMIT = 20
#: Settings by default: of the bracket, of the paper's estimator, of each attack.
MAX_GRADIENTS, N_BATCHES, BATCH_SAMPLES, ATTACK_GRADIENTS = 400, 50, 64, 1000
TARGETS = "top2"


@dataclass(frozen=True)
class Asked:
    """Settings of the scores, by their names in `score_run`, and of the attacks.

    Attributes:
        norm: p, or several.
        targets: Classes.
        max_gradients: Of the bracket.
        n_batches: Of the paper's estimator, as batch_samples.
        batch_samples: Likewise.
        seed: Of its samples, and of the bracket's.
        attack_gradients: Of each attack for each row.
        device_batch: How many points go through the model at once.
        dtype: Of images and samples.
        prepare: How the model is made faster; attacks take it as it is.
        threads: Of the CPU, where a number was asked for.
    """

    norm: Any = 2
    targets: Any = TARGETS
    max_gradients: int = MAX_GRADIENTS
    n_batches: int = N_BATCHES
    batch_samples: int = BATCH_SAMPLES
    seed: int = 0
    attack_gradients: int = ATTACK_GRADIENTS
    device_batch: int | str = "auto"
    dtype: torch.dtype | None = None
    prepare: Any = "auto"
    threads: int | None = None

    def of(self, estimator: str) -> dict[str, Any]:
        """Return the arguments of `Scorer.of` for one estimator."""
        of_others = {"steepest": ("max_gradients",), "clever": ("n_batches", "batch_samples")}
        given = asdict(self)
        del given["attack_gradients"]
        for other, names in of_others.items():
            for name in names if other != estimator else ():
                del given[name]
        # What attacks may do: leave valid data they may not.
        return {**given, "estimator": estimator, "radius": None, "clip": (0.0, 1.0)}
