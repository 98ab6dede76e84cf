"""CLEVER scores: from a classifier and images to a table of results."""

from __future__ import annotations

import math
import platform
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import memory
from .errors import CleverError
from .evt import ReverseWeibullFit, fit_reverse_weibull
from .gradients import GradientOracle, TorchOracle, check_classifier, frozen
from .inputs import Batch, Settings, check_batch, check_labels
from .maxima import Sampling, norms_at, sample_maxima
from .progress import Progress, gradient_bar, silent
from .results import CleverResult, make_table
from .targets import resolve_targets
from .weights import weights_digest

Floats = npt.NDArray[np.float64]

#: Batch maxima that are kept on the device at a time, over all images and targets of one norm.
_MAXIMA_ON_DEVICE = 2**23
#: Images whose samples are drawn in one go.
_IMAGES_AT_ONCE = 64


def _all_logits(oracle: GradientOracle, batch: Batch) -> npt.NDArray[np.float64]:
    parts = [
        oracle.logits(batch.images[start : start + batch.device_batch])
        for start in range(0, len(batch.images), batch.device_batch)
    ]
    for part in parts:
        if not isinstance(part, Tensor) or part.dim() != 2 or part.shape[1] < 2:
            raise CleverError(
                "the oracle's logits are no [B, K] with K of at least 2",
                "one row of logits for each point",
                "return a two-dimensional tensor",
            )
    return torch.cat(parts).double().cpu().numpy()


class _Run:
    """One call's work: what is known of the images, and the maxima as they come in."""

    def __init__(self, oracle: GradientOracle, batch: Batch, settings: Settings) -> None:
        self.oracle, self.batch, self.settings = oracle, batch, settings
        logits = _all_logits(oracle, batch)
        check_labels(batch.labels, logits.shape[1])
        self.predicted = np.argmax(logits, axis=1).astype(np.int64)
        correct = np.ones(len(logits), dtype=bool)
        if batch.labels is not None:
            correct = self.predicted == batch.labels
        self.scored = np.flatnonzero(correct)
        self.targets = resolve_targets(
            settings.targets, logits, settings.seed, batch.image_ids, correct
        )
        rows = np.arange(len(logits))[:, None]
        self.margins = logits[rows, self.predicted[:, None]] - logits[rows, self.targets]
        n_targets = self.targets.shape[1]
        n_norms = len(settings.norms)
        self.at_image = np.full((n_norms, len(logits), n_targets), np.nan)
        self.maxima = np.full((n_norms, len(logits), n_targets, settings.n_batches), np.nan)
        self.done = np.zeros((n_norms, len(logits)), dtype=bool)
        self.done[:, ~correct] = True

    def sample(self, progress: Progress) -> None:
        """Draw all the maxima, some images at a time, norm after norm."""
        settings, n_targets = self.settings, self.targets.shape[1]
        each = settings.n_batches * n_targets
        at_once = max(1, min(_IMAGES_AT_ONCE, _MAXIMA_ON_DEVICE // each))
        total = len(self.scored) * len(settings.norms) * each * settings.batch_samples
        counted = 0

        def count(n: int) -> None:
            nonlocal counted
            counted += n
            progress(counted, total)

        count(0)
        device = self.batch.images.device
        for start in range(0, len(self.scored), at_once):
            these = self.scored[start : start + at_once]
            images = self.batch.images[torch.from_numpy(these).to(device)]
            classes = torch.from_numpy(self.predicted[these]).to(device)
            targets = torch.from_numpy(self.targets[these]).to(device)
            self.at_image[:, these] = norms_at(
                self.oracle, images, classes, targets, list(settings.norms), self.batch.device_batch
            )
            for n, (p, radius) in enumerate(zip(settings.norms, settings.radii, strict=True)):
                sampling = Sampling(
                    p=p,
                    radius=radius,
                    n_batches=settings.n_batches,
                    batch_samples=settings.batch_samples,
                    seed=settings.seed,
                    clip=settings.clip,
                    device_batch=self.batch.device_batch,
                )
                ids = self.batch.image_ids[these]
                found = sample_maxima(self.oracle, images, classes, targets, ids, sampling, count)
                for image, maxima in zip(these, found, strict=True):
                    self.maxima[n, image] = maxima
                    self.done[n, image] = True

    def table(self) -> Any:
        """Fit what is done and build the rows: image after image, target after target."""
        norm, image, target = np.nonzero(
            np.broadcast_to(self.done[:, :, None], self.at_image.shape)
        )
        order = np.lexsort((norm, target, image))
        norm, image, target = norm[order], image[order], target[order]
        misclassified = np.isin(image, self.scored, invert=True)
        maxima = self.maxima[norm, image, target]
        maxima[misclassified] = 0.0  # they have none; of these rows no fit is kept
        fit = fit_reverse_weibull(maxima)
        labels, settings = self.batch.labels, self.settings
        rows = score_columns(
            margin=self.margins[image, target],
            radius=np.array(settings.radii)[norm],
            max_norm=maxima.max(axis=1, initial=0.0),
            norm_at_image=self.at_image[norm, image, target],
            fit=fit,
        )
        n_gradients = settings.n_batches * settings.batch_samples
        rows |= {
            "image_id": self.batch.image_ids[image],
            "label": None if labels is None else labels[image],
            "predicted": self.predicted[image],
            "target": self.targets[image, target],
            "norm": np.array(settings.norms)[norm],
            "estimator": ["clever"] * len(image),
            "n_batches": np.full(len(image), settings.n_batches),
            "batch_samples": np.full(len(image), settings.batch_samples),
            "n_gradients": np.full(len(image), n_gradients),
            "maxima": [
                np.empty(0) if skipped else row
                for skipped, row in zip(misclassified, maxima, strict=True)
            ],
        }
        return make_table(_without_fit(rows, misclassified))


def _without_fit(rows: dict[str, Any], misclassified: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Give misclassified images, which need no perturbation at all, the score 0 and no fit."""
    values: dict[str, Any] = {
        "score": 0.0, "score_low": 0.0, "score_high": 0.0, "capped": False, "flags": "",
        "status": "misclassified", "n_batches": 0, "batch_samples": 0, "n_gradients": 0,
    }  # fmt: skip
    for name in ("lipschitz", "max_norm", "norm_at_image", "shape", "scale", "ks", "p_value"):
        values[name] = math.nan
    return rows | {k: np.where(misclassified, v, rows[k]) for k, v in values.items()}


def score_columns(
    margin: Floats, radius: Floats, max_norm: Floats, norm_at_image: Floats, fit: ReverseWeibullFit
) -> dict[str, Any]:
    """Turn margins and fits into scores, min(margin / location, R) (Weng et al. 2018, Algorithm 1).

    All arguments are [rows]. A location of 0 gives R; a margin of 0 gives 0; where a margin or a
    maximum is not finite the score is NaN and the status "non-finite".
    """
    finite = np.isfinite(margin) & (fit.status != "non-finite")

    def score(constant: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(margin > 0, margin / constant, 0.0)
        return np.where(finite, np.minimum(ratio, radius), np.nan)

    scores = score(fit.location)
    far = np.where(fit.location > 2 * max_norm, "far-location", "")
    below = np.where(fit.location < norm_at_image, "below-image", "")
    both = (far != "") & (below != "")
    return {
        "radius": radius,
        "margin": margin,
        "lipschitz": fit.location,
        "score": scores,
        "score_low": score(fit.ci_high),
        "score_high": score(fit.ci_low),
        "max_norm": max_norm,
        "norm_at_image": norm_at_image,
        "shape": fit.shape,
        "scale": fit.scale,
        "ks": fit.ks,
        "p_value": fit.p_value,
        "capped": scores == radius,
        "status": np.where(finite, fit.status, "non-finite").astype(object),
        "flags": np.where(both, "far-location,below-image", np.char.add(far, below)).astype(object),
    }


def _metadata(
    settings: Settings, batch: Batch, model: Any, name: str | None, complete: bool
) -> dict[str, Any]:
    from . import __version__

    targets = settings.targets
    digest = weights_digest(model) if isinstance(model, torch.nn.Module) else None
    return {
        "settings": {
            "norms": [f"{p:g}" for p in settings.norms],
            "radii": list(settings.radii),
            "n_batches": settings.n_batches,
            "batch_samples": settings.batch_samples,
            "clip": _clip_in_json(settings.clip),
            "seed": settings.seed,
            "targets": targets if isinstance(targets, (str, int)) else np.asarray(targets).tolist(),
            "shape": list(batch.images.shape[1:]),
            "dtype": str(batch.images.dtype).removeprefix("torch."),
            "device_batch": batch.device_batch,
        },
        "device": _device_name(batch.images.device),
        "model": {"name": name or type(model).__name__, "digest": digest},
        "versions": {
            "clever_ext": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "complete": complete,
    }


def _clip_in_json(clip: tuple[float, float]) -> list[float | str] | None:
    """JSON has no infinities: no clipping is None, an open side its name."""
    if clip == (-math.inf, math.inf):
        return None
    return [bound if math.isfinite(bound) else f"{bound:g}" for bound in clip]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"


def clever_score(
    model: Any,
    images: Any,
    norm: float | str | Sequence[float | str] = 2,
    radius: float | Mapping[float, float] | None = None,
    targets: Any = "all",
    labels: Any = None,
    n_batches: int = 500,
    batch_samples: int = 1024,
    clip: tuple[float, float] | None = None,
    seed: int = 0,
    image_ids: Any = None,
    device: Any = None,
    device_batch: int | str = "auto",
    dtype: torch.dtype | None = None,
    progress: bool | Progress = False,
    model_name: str | None = None,
) -> CleverResult:
    """Score how far images may be moved before a classifier changes its answer.

    For predicted class c and target j the margin is g = f_c - f_j. In the ball B_p(x0, R) the
    largest dual norm ||grad g||_q, 1/p + 1/q = 1, is estimated: N_b times the largest of N_s
    uniform samples is taken, a reverse Weibull law is fitted to these maxima, and its end point
    (location) is the local Lipschitz estimate L. The score is min(g(x0) / L, R): Algorithms 1 and
    2 of Weng et al., "Evaluating the Robustness of Neural Networks: An Extreme Value Theory
    Approach", ICLR 2018 (arXiv 1801.10578). It is an estimate, not a certificate.

    Ctrl-C ends the run with what is finished; `metadata["complete"]` is then False.

    Args:
        model: A torch.nn.Module in evaluation mode or a callable, [B, *shape] -> logits [B, K]; or
            a `GradientOracle`. Neither its parameters' gradients nor its mode are touched.
        images: [N, *shape] float tensor or array; scores are in its units.
        norm: p with 1 <= p <= inf, or several; each gets samples of its own.
        radius: R; {p: R}; or None for `default_radius(p)`, which suits pixels in [0, 1].
        targets: "all", "top2" (the runner-up), "top-K" (ranks 2 to K), "random" (one, by seed and
            image id), "least-likely", class number(s), or [N, T] of them.
        labels: [N] true classes, or None. A misclassified image gets score 0.
        n_batches: N_b, the number of batch maxima.
        batch_samples: N_s, the samples of each; N_b * N_s gradient evaluations per target and norm.
        clip: (low, high) of valid data: samples are clamped to it. None: they are not.
        seed: Samples depend on it, the image's id and the norm, and on nothing else of the run.
        image_ids: [N] different int64 numbers; default 0..N-1.
        device: Where to run; default: where the model is.
        device_batch: How many points go through the model at once; does not change any sample.
        dtype: Of images and samples; default: the model's.
        progress: True for a bar on standard error, or a function of (done, total) gradients.
        model_name: What the result's metadata calls the model; default: its class.

    Returns:
        A CleverResult: `.scores` {p: [N]}, the minimum over the targets, and `.table`.

    Raises:
        CleverError: an argument or the model is unfit, found before sampling starts.

    >>> import torch
    >>> model = torch.nn.Linear(4, 3).eval()
    >>> result = clever_score(model, torch.rand(2, 4), norm=2, n_batches=10, batch_samples=16)
    >>> result.scores[2].shape
    (2,)
    """
    settings = Settings.check(norm, radius, targets, n_batches, batch_samples, clip, seed)
    is_oracle = isinstance(model, GradientOracle) and not isinstance(model, torch.nn.Module)
    if not is_oracle and not callable(model):
        raise CleverError(
            f"model of type {type(model).__name__} cannot be called",
            "a torch.nn.Module, a callable or a GradientOracle",
            "pass the model itself",
        )
    batch = check_batch(images, labels, image_ids, device_batch, model, device, dtype)
    complete = True
    holding = memory.held() if batch.images.device.type == "cpu" else nullcontext()
    bar = gradient_bar() if progress is True else nullcontext(progress)
    with frozen(model), holding, bar as report:
        if not is_oracle:
            check_classifier(model, batch.images)
        run = _Run(model if is_oracle else TorchOracle(model), batch, settings)
        try:
            run.sample(report if callable(report) else silent)
        except KeyboardInterrupt:
            complete = False
            warnings.warn("interrupted: the result holds the images finished so far", stacklevel=2)
    return CleverResult(run.table(), _metadata(settings, batch, model, model_name, complete))
