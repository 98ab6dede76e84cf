"""Going on from a result: fitted again, or with more batches, without one gradient made twice."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from .classifier.pixels import of_pixels
from .engine.engine import Engine
from .engine.preparation import Prepare
from .errors import CleverError
from .estimators.bracket.estimator import gradients_of_row
from .estimators.bracket.search import FEWEST_GRADIENTS
from .estimators.race import ELIMINATED
from .estimators.subjects import Held, HeldEnds, all_logits
from .estimators.table import check_settings
from .estimators.tables import VANISHING, ZERO, score_columns
from .evt.credible import predicted_fit
from .evt.reverse_weibull import ReverseWeibullFit, fit_reverse_weibull
from .inputs.batch import Batch, Device, DeviceBatch, check_batch, check_device_batch
from .inputs.images import Images
from .inputs.settings import Settings
from .kernels.balls import AUTO, check_integer
from .progress import Progress, reporting
from .results.brackets import is_bracket
from .results.result import CleverResult, check_result
from .scoring import score_batch

if TYPE_CHECKING:
    import pandas as pd

#: How far margins may move, relative to the largest: rounding of another batch or machine.
_SAME_MARGIN = 1e-2
#: What names a row, beside its radius.
_KEY = ["image_id", "target", "norm"]


def refit(result: CleverResult) -> CleverResult:
    """Fit the batch maxima of a result again: no gradient is computed.

    For results of an earlier version, or whose maxima were changed.

    Args:
        result: Its rows without maxima (misclassified images, errors) and those that a race has
            eliminated stay as they are.

    Returns:
        A new result; the given one is not changed.

    >>> import clever_ext as cx, torch
    >>> model = torch.nn.Linear(4, 3).eval()
    >>> result = cx.clever_score(model, torch.rand(1, 4), n_batches=10, batch_samples=16)
    >>> bool((refit(result).table["score"] == result.table["score"]).all())
    True
    """
    check_result(result)
    table = result.table.copy()
    counts = table["maxima"].map(len).to_numpy(copy=True)
    counts[table["flags"].str.contains(ELIMINATED).to_numpy()] = 0
    # Where the radius was found it caps a score only if there was no crossing.
    found = table["norm"].isin(_norms_of_found_radii(result.metadata)) & ~table["capped"]
    vanishing = _vanishing(table)  # judged by the images, which are not here
    for count in np.unique(counts[counts > 0]):
        rows = np.flatnonzero(counts == count)
        maxima = np.stack(list(table["maxima"].iloc[rows]))
        columns = score_columns(
            margin=table["margin"].to_numpy()[rows],
            radius=table["radius"].to_numpy()[rows],
            max_norm=maxima.max(axis=1),
            norm_at_image=table["norm_at_image"].to_numpy()[rows],
            nearest_flip=table["nearest_flip"].to_numpy()[rows],
            vanishing=vanishing[rows],
            fit=_fit(maxima, result.metadata),
        )
        columns["capped"] &= ~found.to_numpy()[rows]
        for name, values in columns.items():
            column = table[name].to_numpy(copy=True)
            column[rows] = values
            table[name] = column
    return CleverResult(table, dict(result.metadata))


def _vanishing(table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    flagged = table["flags"].str.contains(f"{VANISHING}|{ZERO}")
    vanishing: npt.NDArray[np.bool_] = flagged.to_numpy(dtype=bool)
    return vanishing


def _fit(maxima: npt.NDArray[np.float64], metadata: dict[str, Any]) -> ReverseWeibullFit:
    settings = metadata.get("settings", {})
    if settings.get("tolerance") is None:
        return fit_reverse_weibull(maxima)
    return predicted_fit(maxima, settings["batch_samples"], settings["confidence"])


def _norms_of_found_radii(metadata: dict[str, Any]) -> list[float]:
    known = metadata.get("settings", {"norms": [], "radii": []})
    pairs = zip(known["norms"], known["radii"], strict=True)
    return [float(p) for p, radius in pairs if radius == AUTO]


def refine(
    result: CleverResult,
    model: Any,
    images: Images,
    n_batches: int | None = None,
    *,
    tolerance: float | None = None,
    confidence: float = 0.95,
    max_gradients: int | None = None,
    device: Device | None = None,
    device_batch: DeviceBatch = "auto",
    progress: bool | Progress = False,
    prepare: Prepare = "auto",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> CleverResult:
    """Go on from a result, with more batches or more gradients, or to a tolerance.

    It is what `clever_score` would have found with them. Samples are functions of seed, image id
    and their number, so the batches that the result holds are kept and those from its N_b on are
    drawn. Rows whose radius was found keep it. A bracket goes on with the rounds that follow, and
    its ends only fall; where the result kept its witnesses it goes on from its nearest flips.

    Args:
        result: From `clever_score` or a file.
        model: The model that it scored.
        images: [N, *shape], the images that it scored, in the order of its rows.
        n_batches: N_b that the new result shall have; or
        tolerance: how exact its scores shall be, as for `clever_score`, like the next two.
        confidence: Of the intervals.
        max_gradients: What a row may have spent in all; of a bracket, this alone, for every row.
        device: As for `clever_score`, like the next three.
        device_batch: How many points go through the model at once.
        progress: True for a bar, or a function of (done, total) gradients.
        prepare: How to make the model's passes faster.
        mean: With `std`, as for `clever_score`, where the model was scored with them.
        std: As `mean`.

    Returns:
        A new result. With n_batches each row has that many maxima; with a tolerance each has as
        many as it needs, those that it had among them.

    Raises:
        CleverError: the result is incomplete or neither a bracket nor one of equal batches,
            n_batches is not at least 2 more than it has, max_gradients not at least 16 more, both
            or neither of n_batches and tolerance are given, or model or images are not those that
            it scored; found before sampling starts.

    >>> import clever_ext as cx, torch
    >>> model, images = torch.nn.Linear(4, 3).eval(), torch.rand(2, 4)
    >>> result = cx.clever_score(model, images, n_batches=10, batch_samples=16)
    >>> refine(result, model, images, n_batches=20).table["n_batches"].unique().tolist()
    [20]
    """
    check_result(result)
    settings = _settings(result, n_batches, tolerance, confidence, max_gradients)
    dtype = getattr(torch, result.metadata["settings"]["dtype"])
    firsts = result.table.drop_duplicates("image_id")
    labels = firsts["label"]
    if isinstance(images, Sized) and len(images) != len(firsts):
        raise CleverError(
            f"{len(images)} images for a result of {len(firsts)}",
            "the images that were scored, in the order of the result's rows",
            "give those images",
        )
    model = of_pixels(model, mean, std)
    engine = Engine(model, prepare, check_device_batch(device_batch))
    batch = check_batch(
        images,
        None if labels.isna().any() else labels.to_numpy(dtype=np.int64),
        firsts["image_id"].to_numpy(dtype=np.int64),
        model,
        device,
        dtype,
        settings,
    )
    _check_model_and_images(result, engine, batch, settings)
    with reporting(progress) as report:
        name = result.metadata["model"]["name"]
        held: Held | HeldEnds | None = None
        if is_bracket(result.metadata):
            held = _held_ends(result)
        elif n_batches is None or AUTO in settings.radii:
            held = _held(result)
        more = score_batch(engine, batch, settings, report, name, held)
    if not more.metadata["complete"]:  # the given result is whole, a part of the new one is not
        raise KeyboardInterrupt
    if n_batches is None:
        return _with_left_out(result, more)
    whole = refit(_joined(result, more)) if held is None else _with_left_out(result, more)
    known = {**result.metadata["settings"], "n_batches": n_batches}
    return CleverResult(whole.table, {**more.metadata, "settings": known})


def _held(result: CleverResult) -> Held:
    """Return what the rows have that were scored."""
    rows = result.table[result.table["maxima"].map(len) > 0]
    of_batches = rows["n_batches"] * rows["batch_samples"]
    return Held(
        list(rows["maxima"]),
        rows["nearest_flip"].to_numpy(),
        rows["radius"].to_numpy(),
        (rows["n_gradients"] - of_batches).to_numpy(dtype=np.int64),
        rows["capped"].to_numpy(dtype=bool),
    )


def _held_ends(result: CleverResult) -> HeldEnds:
    """Return what the rows have that were searched for."""
    rows = result.table[result.table["n_gradients"] > 0]
    with np.errstate(divide="ignore"):
        lower = [m / slopes for m, slopes in zip(rows["margin"], rows["curve"], strict=True)]
    return HeldEnds(
        lower=rows["score"].mask(rows["capped"], np.inf).to_numpy(),
        upper=rows["nearest_flip"].to_numpy(),
        at_image=rows["norm_at_image"].to_numpy(),
        largest=rows["max_norm"].to_numpy(),
        flips=list(rows["witness"]),
        steepest=list(rows["steepest"]),
        spent=rows["n_gradients"].to_numpy(dtype=np.int64),
        curves=(lower, list(rows["curve_gradients"])),
        budget=_budget(result.metadata["settings"]),
    )


def _settings(
    result: CleverResult,
    n_batches: int | None,
    tolerance: float | None,
    confidence: float,
    max_gradients: int | None,
) -> Settings:
    """Return the settings of the batches to come, with targets as the result has them."""
    known = _known_settings(result)
    n_balls = sum(len(each) if isinstance(each, list) else 1 for each in known["radii"])
    first_batch = 0
    searched = is_bracket(result.metadata)
    if searched:
        _check_budget(known, n_batches, tolerance, max_gradients)
    elif (n_batches is None) == (tolerance is None):
        raise CleverError(
            f"n_batches={n_batches!r} and tolerance={tolerance!r}", "one of the two", "give one"
        )
    if n_batches is not None:
        held = _batches_held(known, n_batches)
        first_batch = 0 if AUTO in known["radii"] else held
    of_first_ball = result.table.iloc[::n_balls]
    targets = of_first_ball.groupby("image_id", sort=False)["target"].agg(list)
    if len(result.table) != n_balls * len(of_first_ball) or targets.map(len).nunique() != 1:
        raise CleverError(
            "rows of the result are missing",
            "all rows that clever_score made: each image, target and norm",
            "give the whole result",
        )
    clip = known["clip"]
    settings = check_settings(
        norm=known["norms"],
        radius={float(p): r for p, r in zip(known["norms"], known["radii"], strict=True)},
        targets=np.array(targets.to_list(), dtype=np.int64),
        n_batches=known["n_batches"] if n_batches is None else n_batches - first_batch,
        batch_samples=known["batch_samples"],
        clip=None if clip is None else (float(clip[0]), float(clip[1])),
        seed=known["seed"],
        estimator=known.get("estimator", "clever"),
        keep_witness=searched and known.get("keep_witness", False),
        tolerance=tolerance,
        confidence=confidence,
        max_gradients=max_gradients,
    )
    return replace(settings, first_batch=first_batch)


def _check_budget(
    known: dict[str, Any],
    n_batches: int | None,
    tolerance: float | None,
    max_gradients: int | None,
) -> None:
    """Refuse what does not bring a bracket on."""
    if n_batches is not None or tolerance is not None or max_gradients is None:
        raise CleverError(
            f"n_batches={n_batches!r}, tolerance={tolerance!r} and max_gradients={max_gradients!r} "
            "for a bracket",
            "max_gradients alone: a bracket has no batches",
            "give the number of gradients that each row shall have in all",
        )
    least = _budget(known) + FEWEST_GRADIENTS
    if check_integer("max_gradients", max_gradients, 1, 2**31 - 1) < least:
        raise CleverError(
            f"max_gradients={max_gradients}, and rows of the result may have had {_budget(known)}",
            f"at least {least}",
            "give the number of gradients that each row shall have in all",
        )


def _budget(known: dict[str, Any]) -> int:
    """Return the gradients that each row of a bracket might have."""
    targets = known["targets"]
    settings = check_settings(
        norm=known["norms"], radius=AUTO, n_batches=2, batch_samples=1, clip=None, seed=0,
        targets=targets if isinstance(targets, str) else 0,
        estimator=known["estimator"], max_gradients=known["max_gradients"],
    )  # fmt: skip
    return gradients_of_row(settings)


def _known_settings(result: CleverResult) -> dict[str, Any]:
    """Return the settings of a result that more batches can be added to."""
    metadata = result.metadata
    known: dict[str, Any] = metadata.get("settings", {})
    failed = (result.table["status"] == "error").any()
    if not known or not metadata.get("complete", False) or failed:
        raise CleverError(
            "the result is incomplete or does not tell its settings",
            "a whole result of clever_score",
            "score the missing images first",
        )
    estimator, race = known.get("estimator", "clever"), known.get("race", False)
    if race or not (estimator == "clever" or is_bracket(metadata)):
        raise CleverError(
            f"the result was made with estimator={estimator!r} and race={race}",
            "a bracket, or a result of batches of samples, as many of each row",
            "score again with more gradients",
        )
    return known


def _batches_held(known: dict[str, Any], n_batches: int) -> int:
    """Return how many batches all rows of a result have, if n_batches are more."""
    if known.get("tolerance") is not None:
        raise CleverError(
            f"n_batches={n_batches!r} for a result whose rows have different numbers of batches",
            "a tolerance",
            "refine it by a tolerance",
        )
    done = int(known["n_batches"])
    wanted = check_integer("n_batches", n_batches, 1, 2**31 - 1)
    if wanted < done + 2:
        raise CleverError(
            f"n_batches={wanted}, and the result has {done} batches",
            f"at least {done + 2}",
            "give the number that the new result shall have in all",
        )
    return done


def _check_model_and_images(
    result: CleverResult, engine: Engine, batch: Batch, settings: Settings
) -> None:
    """Refuse another model, or other images, by digest, shape and margins."""
    metadata, table = result.metadata, result.table
    digest = metadata["model"]["digest"]
    if None not in (digest, engine.digest) and digest != engine.digest:
        raise CleverError(
            "the model's weights are not those that the result was made with",
            f"weights whose digest is {digest}",
            "load that model, or score again",
        )
    with engine.running(batch.images.device):
        engine.check(batch.images, settings.balls, settings.clip)
        logits = all_logits(engine, batch)
    numbers = table["image_id"].map({u: i for i, u in enumerate(batch.image_ids.tolist())})
    rows = numbers.to_numpy(dtype=np.int64)
    predicted, target = (table[name].to_numpy(dtype=np.int64) for name in ("predicted", "target"))
    margins = logits[rows, predicted] - logits[rows, target]
    before = table["margin"].to_numpy()
    known = np.isfinite(before)
    allowed = _SAME_MARGIN * np.abs(before[known]).max(initial=0.0)
    moved = np.where(known, np.abs(margins - before), 0.0)
    if not (moved <= allowed).all():
        bad = int(table["image_id"].iloc[int(np.argmax(moved))])
        raise CleverError(
            f"image {bad} does not have the margins that the result has for it",
            "the images that were scored, in the order of the result's rows",
            "give those images, in that order",
        )


def _with_left_out(result: CleverResult, more: CleverResult) -> CleverResult:
    """Add to rows whose targets are given by now what the choice of these told."""
    _check_same_rows(result.table, more.table)
    left_out_by = result.table["left_out_by"].to_numpy()
    return CleverResult(more.table.assign(left_out_by=left_out_by), more.metadata)


def _check_same_rows(table: pd.DataFrame, more: pd.DataFrame) -> None:
    if not table[_KEY].equals(more[_KEY]):
        raise AssertionError("the rows of both are made by one loop")


def _joined(result: CleverResult, more: CleverResult) -> CleverResult:
    """Put the maxima of the same rows one behind the other."""
    import pandas as pd

    table, added = result.table.copy(), more.table
    _check_same_rows(table, added)
    pairs = zip(table["maxima"], added["maxima"], strict=True)
    maxima = [np.append(a, b) for a, b in pairs]
    table["maxima"] = pd.Series(maxima, index=table.index, dtype=object)
    table["nearest_flip"] = np.fmin(table["nearest_flip"], added["nearest_flip"])
    for name in ("n_batches", "n_gradients"):
        table[name] = table[name] + added[name]
    # The larger maximum of the two explains more: gradients vanish where they do in both.
    lasting = _vanishing(table) & _vanishing(added)
    table["flags"] = np.where(lasting, VANISHING, "").astype(object)
    return CleverResult(table, dict(more.metadata))
