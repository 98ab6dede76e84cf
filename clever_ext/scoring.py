"""CLEVER scores: from a classifier and images to a table of results."""

from __future__ import annotations

import math
import platform
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .arguments import Arrays, Integers, check_name
from .classifier.pixels import beyond_pixels, of_pixels
from .cost import measure_passes, of_cost
from .engine.engine import Engine
from .engine.preparation import Prepare
from .errors import CleverError
from .estimators.screening import most_screened, screen
from .estimators.subjects import Held, HeldEnds, Subjects, all_logits
from .estimators.table import check_settings, estimator_of, gradients_of_image, settled
from .findings import Finding, of_concern, warn
from .inputs.batch import (
    Batch,
    Device,
    DeviceBatch,
    check_batch,
    check_candidates,
    check_device_batch,
)
from .inputs.images import Images
from .inputs.labels import of_answers
from .inputs.settings import EstimatorName, Settings
from .inputs.targets import Targets, nearest
from .kernels.balls import AUTO, Norms, Radii
from .progress import Counter, Progress, after, reporting
from .results.result import NO_TARGET, CleverResult

#: Device batches of a run, at least, that is measured before it begins.
_MEASURED = 300


def describe(
    engine: Engine,
    batch: Batch,
    settings: Settings,
    name: str | None,
    complete: bool,
    late: Sequence[Finding] = (),
) -> dict[str, Any]:
    """Return what decided the scores of some images, for the metadata of a result.

    Beside what was found before the scores were made stands what was found late, by them.
    """
    from .version import __version__

    targets = settings.targets
    return {
        "settings": {
            "norms": [f"{p:g}" for p in settings.norms],
            "radii": [_radii_in_json(radii) for radii in settings.radii],
            "n_batches": settings.n_batches,
            "batch_samples": settings.batch_samples,
            "clip": _clip_in_json(settings.clip),
            "seed": settings.seed,
            "estimator": settings.estimator,
            "max_gradients": settings.max_gradients or None,
            "race": settings.race,
            "tolerance": settings.tolerance,
            "confidence": settings.confidence,
            "targets": targets if isinstance(targets, (str, int)) else np.asarray(targets).tolist(),
            "shape": list(batch.images.shape[1:]),
            "dtype": str(batch.images.dtype).removeprefix("torch."),
            **({"keep_witness": True} if settings.keep_witness else {}),
        },
        "engine": engine.description(),
        "device": _device_name(batch.images.device),
        "model": {"name": name or engine.name, "digest": engine.digest},
        "versions": {
            "clever_ext": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "warnings": [each.to_json() for each in of_concern((*engine.findings, *late))],
        "complete": complete,
    }


def _radii_in_json(radii: tuple[float, ...] | str) -> float | list[float] | str:
    """One radius is a number."""
    if isinstance(radii, str):
        return radii
    return list(radii) if len(radii) > 1 else radii[0]


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
    images: Images,
    norm: Norms = 2,
    radius: Radii = None,
    targets: Targets | None = None,
    labels: Integers | None = None,
    n_batches: int = 500,
    batch_samples: int = 1024,
    clip: tuple[float, float] | None = None,
    seed: int = 0,
    image_ids: Integers | None = None,
    device: Device | None = None,
    device_batch: DeviceBatch = "auto",
    dtype: torch.dtype | None = None,
    progress: bool | Progress = False,
    model_name: str | None = None,
    prepare: Prepare = "auto",
    estimator: EstimatorName = "clever",
    max_gradients: int | None = None,
    keep_witness: bool = False,
    candidates: Arrays | None = None,
    race: bool = False,
    tolerance: float | None = None,
    confidence: float = 0.95,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
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
        model: A torch.nn.Module in evaluation mode or a callable, [B, *shape] -> logits [B, K], or
            an output that holds them, such as transformers' and dictionaries; what `load_model`
            returned; or a `GradientOracle`. Neither its parameters' gradients nor its mode are
            touched.
        images: [N, *shape] float tensor or array, or a list of N; scores are in its units. Or
            pictures: a list of Pillow's, a map-style data set of torch, a DataLoader of one, a data
            set of Hugging Face, or what `open_images` returned. They are read as a model of
            `load_model` takes them; for any other model they keep their size, in [0, 1], and their
            labels count unless others are given.
        norm: p with 1 <= p <= inf, as a number or a name such as "L2" or "l_inf", or several; each
            gets samples of its own.
        radius: None or "auto", the radius where margin / L(R) = R, found for each row by at most
            half as many gradients more; a number R; several, for a curve of scores, a row for
            each; or {p: any of these}. Without a number "steepest" is the bracket: `score` is its
            lower end, `nearest_flip` its upper one. The column `radius` says what was used.
        targets: "all", "near-K" (the K classes of smallest margin / gradient norm at the image),
            "top2" (the runner-up), "top-K" (ranks 2 to K), "random" (one, by seed and image id),
            "least-likely", class number(s) for all images, or [N, T] of them. None: all of up to
            20 classes, else "near-10". Where the class is the predicted one, or its logit is -inf,
            the row has the status "no-target" and counts in no minimum. Rows tell how many classes
            were left out: docs/concepts/targets.md.
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
            what changes rounding alone and is measured to be faster. See docs/guide/speed.md.
        estimator: "clever"; "steepest": L is replaced by the largest gradient norm or secant
            that a search of the ball finds, which is proved to be no larger; or "first-order": it
            is that at the image alone, one gradient for all norms, and without a radius nothing
            caps the score. `n_batches` and `batch_samples` are not used by these two.
            docs/guide/which-score.md tells which to choose.
        max_gradients: What a search, or a tolerance, may spend for each image, target and norm;
            default 2,000, 100 for the bracket, and for a tolerance the paper's 512,000. A bracket
            against "all" of more than 20 classes, or "near-K", takes three times as many for each
            image and norm in all, and says what it left out.
        keep_witness: Whether rows keep, in the column `witness`, the steepest point that was found.
            Of a bracket they keep the nearest flip there, and the point that decided the lower end
            in `steepest`.
        candidates: [N, M, *shape], points that the search looks at besides its own, such as what
            attacks found; those outside a ball are projected onto it.
        race: Whether only targets that may have the smallest score get all their batches. The
            others' rows are flagged "eliminated" and hold what they were left with; `p_lowest` of
            the deciding row is the probability that no target has a lower score. All race in one
            ball, that of the leader where the radius is to be found: scores of the others that
            are this radius are at least so large.
        tolerance: Batches are added to each row until the half-width of its score's interval is
            at most this share of the score; `n_batches` is not used then. The row predicts what
            the paper's 500 batches of 1,024 would give: docs/concepts/tolerance.md.
        confidence: Of those intervals.
        mean: With `std`, of each channel: the model takes images normalised by them, and the images
            given here are pixels in [0, 1], which scores are in units of. The same as scoring
            `cx.Normalized(model, mean, std)`. None: the model takes the images as they are.
        std: As `mean`.

    Returns:
        A CleverResult: `.scores` {p: [N]}, the minimum over the targets (of a target with
        several radii the best counts, as each is a bound), and `.table`.

    Raises:
        CleverError: an argument or the model is unfit, found before sampling starts.

    >>> import torch
    >>> model = torch.nn.Linear(4, 3).eval()
    >>> result = clever_score(model, torch.rand(2, 4), norm=2, n_batches=10, batch_samples=16)
    >>> result.scores[2].shape
    (2,)
    """
    settings = check_settings(
        norm, radius, targets, n_batches, batch_samples, clip, seed, race=race,
        estimator=estimator, max_gradients=max_gradients, keep_witness=keep_witness,
        candidates=candidates, tolerance=tolerance, confidence=confidence,
    )  # fmt: skip
    name = check_name("model_name", model_name)
    model = of_pixels(model, mean, std)
    engine = Engine(model, prepare, check_device_batch(device_batch))
    batch = check_batch(images, labels, image_ids, model, device, dtype, settings)
    engine.findings += batch.findings
    if mean is not None:
        engine.findings += beyond_pixels(batch.images)
    if candidates is not None:
        points = check_candidates(candidates, batch.images)
        batch = replace(batch, candidates=points)
        settings = replace(settings, candidates=points.shape[1])
    with reporting(progress) as report:
        result = score_batch(engine, batch, settings, report, name, tell=warn)
    if len(result.table) and (result.table["status"] == NO_TARGET).all():
        raise CleverError(
            f"the target of image {result.table['image_id'].iloc[0]}, and of every other, is the "
            "class predicted for it, or has a logit of -inf",
            "targets other than the predicted class",
            'choose another target, or "top2", "random", "least-likely" or "all"',
        )
    return result


def score_batch(
    engine: Engine,
    batch: Batch,
    settings: Settings,
    progress: Progress,
    model_name: str | None = None,
    held: Held | HeldEnds | None = None,
    tell: Callable[[Iterable[Finding]], None] | None = None,
) -> CleverResult:
    """Score checked images with an engine, which keeps what it found out for the next ones.

    Ctrl-C ends the run with what is finished; `metadata["complete"]` is then False. A run with a
    tolerance goes on from what is held. What was found of model, images and cost is told, where
    somebody is to be told, before the work begins.

    Raises:
        CleverError: the model, or its number of classes, is unfit.
    """
    with engine.running(batch.images.device):
        engine.check(batch.images, settings.balls, settings.clip)
        logits = all_logits(engine, batch)
        settings = settled(settings, logits.shape[1])
        subjects = Subjects(engine, batch, settings.targets, settings.seed, held, logits)
        answers = []
        if tell is not None:
            answers = _of_answers(subjects)
            long = _of_long_run(subjects, settings)
            tell((*engine.findings, *answers, *long))
        told = len(engine.findings)
        progress = _screened(subjects, settings, progress)
        table, complete = estimator_of(settings).score(subjects, settings, progress)
        try:
            engine.ask_again(batch.images)
        except KeyboardInterrupt:
            complete = False
    pairs = zip(settings.norms, settings.radii, strict=True)
    late = of_scores(table, [p for p, radii in pairs if radii == AUTO])
    # Where warnings are errors the result is not lost by them: its metadata tells the same.
    with suppress(Warning):
        if tell is not None:
            tell((*engine.findings[told:], *late))
    late += answers
    if batch.names is not None:
        names = dict(zip(batch.image_ids, batch.names, strict=True))
        table["image"] = table["image_id"].map(names)
    with suppress(Warning):
        if not complete:
            warnings.warn("interrupted: the result holds the images finished so far", stacklevel=3)
    return CleverResult(table, describe(engine, batch, settings, model_name, complete, late))


def _screened(subjects: Subjects, settings: Settings, progress: Progress) -> Progress:
    """Find the nearest classes, if they are asked for; return what shows the rest of the work."""
    k = nearest(settings.targets)
    if k is None:
        return progress
    each = gradients_of_image(settings, subjects.n_targets)
    counter = Counter(progress, len(subjects.scored) * each)
    most = most_screened(settings, k)
    screen(subjects, k, list(settings.norms), most, counter.add)
    return after(progress, counter.done)


def of_scores(table: Any, found_radii: Sequence[float]) -> list[Finding]:
    """Say of how many images there is nothing to score, and whose scores are but a radius.

    Args:
        table: The rows.
        found_radii: Norms whose radii were to be found.
    """
    found = []
    without = table["status"].eq(NO_TARGET).groupby(table["image_id"]).all()
    if without.any():
        found.append(
            Finding(
                "model",
                f"{int(without.sum())} of {len(without)} images have no score: the target is the "
                "class predicted for them, or its logit is -inf",
                'give other targets, such as "top2", or leave these images out',
            )
        )
    scored = table[table["status"].isin(("ok", "max-fallback", "degenerate"))]
    flat = scored["capped"] & (scored["lipschitz"] == 0) & scored["norm"].isin(found_radii)
    if flat.any():
        found.append(
            Finding(
                "model",
                f"{int(flat.sum())} of {len(scored)} scores are but how far the data reaches: no "
                "gradient was found near the image",
                "do not trust these scores; see what hides the gradients, such as a softmax or "
                "rounding",
            )
        )
    if len(scored) and (scored["capped"] & ~flat).all():
        found.append(
            Finding(
                "units",
                "every score is the radius: no sample says how much farther an image may be moved",
                'give a larger radius in the units of the images, or radius="auto"',
            )
        )
    return found


def _of_answers(subjects: Subjects) -> list[Finding]:
    """Hold labels, where there are some, against the model's answers."""
    labels, n_classes = subjects.batch.labels, subjects.logits.shape[1]
    return [] if labels is None else [of_answers(labels, subjects.predicted, n_classes)]


def _of_long_run(subjects: Subjects, settings: Settings) -> list[Finding]:
    """Measure what a run will take, if it is long enough to be worth the passes."""
    n_images, size = len(subjects.scored), subjects.engine.own.device_batch
    points = n_images * len(settings.balls) * settings.most_gradients_of_row
    if points < _MEASURED * size:
        return []
    return [of_cost(settings, n_images, subjects.n_targets, measure_passes(subjects))]
