"""CLEVER scores: from a classifier and images to a table of results."""

from __future__ import annotations

import math
import platform
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .engine import Engine
from .errors import CleverError
from .evt import ReverseWeibullFit
from .fitting import BackgroundFits, Fitted
from .inputs import Batch, Settings, check_batch, check_device_batch, check_labels
from .maxima import Sampling, in_batches, norms_at, sample_maxima
from .progress import Progress, reporting
from .results import CleverResult, make_table
from .sampling import as_layout
from .targets import resolve_targets

Floats = npt.NDArray[np.float64]

#: Batch maxima that are kept on the device at a time, over all images and targets of one norm.
_MAXIMA_ON_DEVICE = 2**23
#: Images whose samples are drawn in one go.
_IMAGES_AT_ONCE = 64
#: How far gradient norms move, relative to themselves, with the way in which a pass is made.
_ROUNDING = 1e-3


def all_logits(engine: Engine, batch: Batch) -> npt.NDArray[np.float64]:
    """Return the logits [N, K] at the images, by the model as it was given."""
    parts: dict[int, Tensor] = {}

    def work(part: slice) -> None:
        parts[part.start] = engine.own.oracle.logits(batch.images[part])

    in_batches(engine.own, len(batch.images), work)
    for logits in parts.values():
        if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] < 2:
            raise CleverError(
                "the oracle's logits are no [B, K] with K of at least 2",
                "one row of logits for each point",
                "return a two-dimensional tensor",
            )
    return torch.cat(list(parts.values())).double().cpu().numpy()


class _Run:
    """One call's work: what is known of the images, and the fits as they come in."""

    def __init__(self, engine: Engine, batch: Batch, settings: Settings) -> None:
        self.engine, self.batch, self.settings = engine, batch, settings
        logits = all_logits(engine, batch)
        check_labels(batch.labels, logits.shape[1])
        self.predicted = np.argmax(logits, axis=1).astype(np.int64)
        correct = np.ones(len(logits), dtype=bool)
        if batch.labels is not None:
            correct = self.predicted == batch.labels
        self.scored, self.skipped = np.flatnonzero(correct), np.flatnonzero(~correct)
        self.targets = resolve_targets(
            settings.targets, logits, settings.seed, batch.image_ids, correct
        )
        rows = np.arange(len(logits))[:, None]
        self.margins = logits[rows, self.predicted[:, None]] - logits[rows, self.targets]
        self.n_targets = self.targets.shape[1]
        self.at_image = np.full((len(settings.norms), *self.targets.shape), np.nan)

    def sample(self, fits: BackgroundFits, progress: Progress) -> None:
        """Draw all the maxima, some images at a time, norm after norm."""
        settings, engine = self.settings, self.engine
        each = settings.n_batches * self.n_targets
        at_once = max(1, min(_IMAGES_AT_ONCE, _MAXIMA_ON_DEVICE // each))
        total = len(self.scored) * len(settings.norms) * each * settings.batch_samples
        counted = 0

        def count(n: int) -> None:
            nonlocal counted
            counted += n
            progress(counted, total)

        count(0)
        for n in range(len(settings.norms)):
            for image in self.skipped:  # none of these zeros is kept, nor is the fit to them
                fits.add((n, int(image)), partial(np.zeros, (self.n_targets, settings.n_batches)))
        device = self.batch.images.device
        for start in range(0, len(self.scored), at_once):
            these = self.scored[start : start + at_once]
            images = self.batch.images[torch.from_numpy(these).to(device)]
            classes = torch.from_numpy(self.predicted[these]).to(device)
            targets = torch.from_numpy(self.targets[these]).to(device)
            self.at_image[:, these] = norms_at(
                engine.own, images, classes, targets, list(settings.norms)
            )
            engine.ready(images, classes, targets, total)
            images = as_layout(images, engine.memory_format)
            for n, (p, radius) in enumerate(zip(settings.norms, settings.radii, strict=True)):
                sampling = Sampling(
                    p=p,
                    radius=radius,
                    n_batches=settings.n_batches,
                    batch_samples=settings.batch_samples,
                    seed=settings.seed,
                    clip=settings.clip,
                    first_batch=settings.first_batch,
                )
                ids = self.batch.image_ids[these]
                found = sample_maxima(engine.plan, images, classes, targets, ids, sampling, count)
                for image, maxima in zip(these, found, strict=True):
                    fits.add((n, int(image)), maxima)

    def table(self, fitted: Fitted) -> Any:
        """Build the rows: image after image, target after target, norm after norm."""
        keys = np.array(fitted.keys, dtype=np.int64).reshape(-1, 2)
        norm, image = np.repeat(keys, self.n_targets, axis=0).T
        target = np.tile(np.arange(self.n_targets), len(keys))
        order = np.lexsort((norm, target, image))
        norm, image, target = norm[order], image[order], target[order]
        misclassified = np.isin(image, self.scored, invert=True)
        maxima = fitted.maxima[order]
        labels, settings = self.batch.labels, self.settings
        rows = score_columns(
            margin=self.margins[image, target],
            radius=np.array(settings.radii)[norm],
            max_norm=maxima.max(axis=1, initial=0.0),
            norm_at_image=self.at_image[norm, image, target],
            fit=fitted.fit.rows(order),
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
    below = np.where(fit.location < norm_at_image * (1 - _ROUNDING), "below-image", "")
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
    engine: Engine, batch: Batch, settings: Settings, name: str | None, complete: bool
) -> dict[str, Any]:
    from . import __version__

    targets = settings.targets
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
        },
        "engine": engine.description(),
        "device": _device_name(batch.images.device),
        "model": {"name": name or type(engine.model).__name__, "digest": engine.digest},
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
    prepare: str | Sequence[str] = "auto",
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
        device_batch: How many points go through the model at once; changes no sample. "auto" finds
            the fastest by a few trials where the work is long enough, else goes by their size.
        dtype: Of images and samples; default: the model's.
        progress: True for a bar on standard error, or a function of (done, total) gradients.
        model_name: What the result's metadata calls the model; default: its class.
        prepare: How to make the model's passes faster: "auto", "none", or some of
            "fold_batch_norm", "channels_last", "bfloat16", "float16", "compile", "tf32" and
            "cuda_graph", "auto" among them or not. A copy is changed, never the model. "auto" uses
            what changes rounding alone and is measured to be faster. See docs/performance.md.

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
    engine = Engine(model, prepare, check_device_batch(device_batch))
    batch = check_batch(images, labels, image_ids, model, device, dtype)
    with reporting(progress) as report:
        return score_batch(engine, batch, settings, report, model_name)


def score_batch(
    engine: Engine,
    batch: Batch,
    settings: Settings,
    progress: Progress,
    model_name: str | None = None,
) -> CleverResult:
    """Score checked images with an engine, which keeps what it found out for the next ones.

    Ctrl-C ends the run with what is finished; `metadata["complete"]` is then False.

    Raises:
        CleverError: the model, or its number of classes, is unfit.
    """
    complete = True
    with engine.running(batch.images.device):
        engine.check(batch.images)
        run = _Run(engine, batch, settings)
        with BackgroundFits(run.n_targets, settings.n_batches) as fits:
            try:
                run.sample(fits, progress)
            except KeyboardInterrupt:
                complete = False
                message = "interrupted: the result holds the images finished so far"
                warnings.warn(message, stacklevel=3)
            table = run.table(fits.finish())
    return CleverResult(table, _metadata(engine, batch, settings, model_name, complete))
