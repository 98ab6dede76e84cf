"""`score_run`: scores of many pictures, in a folder from which the work goes on after a stop."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from .checks.run import look_at_run
from .classifier.oracle import model_placement
from .data import ImageSource, open_images, select
from .engine.preparation import Prepare
from .errors import CleverError
from .findings import Finding, warn
from .inputs.batch import Device, DeviceBatch, check_device
from .inputs.images import Images
from .inputs.settings import EstimatorName
from .inputs.targets import Targets
from .kernels.balls import Norms, Radii, check_integer
from .machine.doctor import devices
from .models.loaded import LoadedModel
from .models.loading import load_model
from .results.result import CleverResult
from .runs.folder import RunFolder, load_run
from .runs.loop import Tell, score_pieces
from .runs.ranks import Ranks, find_ranks, local_device
from .runs.scorer import Scorer

#: An option in a message, with its value.
_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)(?: ([A-Z]+|none|number|names|text|rank)\b)?")


def score_run(
    model: str | LoadedModel | nn.Module,
    images: str | os.PathLike[str] | Images,
    out: str | os.PathLike[str],
    *,
    norm: Norms = 2,
    radius: Radii = None,
    targets: Targets | None = None,
    estimator: EstimatorName | None = None,
    max_gradients: int | None = None,
    n_batches: int | None = None,
    batch_samples: int | None = None,
    tolerance: float | None = None,
    race: bool = False,
    keep_witness: bool = False,
    candidates: str | os.PathLike[str] | None = None,
    clip: tuple[float, float] | None = (0.0, 1.0),
    seed: int = 0,
    limit: int | None = None,
    sample: int | None = None,
    sample_seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    retry_errors: bool = False,
    device: Device | None = None,
    device_batch: DeviceBatch = "auto",
    dtype: torch.dtype | None = None,
    prepare: Prepare = "auto",
    workers: int = 0,
    progress: bool = True,
) -> CleverResult:
    """Score a model on pictures, as `clever-ext score` does: into a folder, piece by piece.

    The same call goes on with a run that was stopped, to the same bits; pictures that cannot be
    read become rows that say why. Under torchrun the processes share the pieces. Scores are in
    units of pixels in [0, 1].

    Args:
        model: A name that `load_model` knows, loaded onto a GPU if there is one; what `load_model`
            returned; or, for floating-point numbers of its input's size, a torch.nn.Module that
            takes pixels in [0, 1] (`Normalized` makes it one).
        images: A path or pictures, as for `open_images`, or what that returned: its arguments say
            how labels are read.
        out: The folder of the run; docs/guide/run-format.md says what is in it.
        norm: p, or several, as for `clever_score`.
        radius: As for `clever_score`.
        targets: As for `clever_score`.
        estimator: "steepest", "clever" or "first-order". None: "steepest", whose scores are the two
            ends of a bracket; or "clever", if n_batches, batch_samples, tolerance or race is given.
        max_gradients: As for `clever_score`.
        n_batches: N_b; default 500.
        batch_samples: N_s; default 1,024.
        tolerance: As for `clever_score`.
        race: As for `clever_score`.
        keep_witness: As for `clever_score`; the report then shows them.
        candidates: A .npz file of points that "steepest" looks at too, as `clever-ext score --help`
            explains.
        clip: (low, high) of valid data; None: samples may leave the range of pixels.
        seed: Of the samples.
        limit: Score the first so many pictures.
        sample: Score so many at random, always the same.
        sample_seed: Another takes others.
        shard: (i, n): score every n-th piece, from the i-th on; `clever-ext merge` joins them.
        retry_errors: Score finished pieces again if pictures in them had errors.
        device: Where to run; default: where the model is.
        device_batch: As for `clever_score`.
        dtype: Of images and samples; default: the model's.
        prepare: As for `clever_score`.
        workers: Processes that read pictures besides this one. A script that asks for some keeps
            what it does under `if __name__ == "__main__":`.
        progress: Whether to show on standard error what the run takes, and how far it is.

    Returns:
        All rows of the run's folder, as `load_run` gives them.

    Raises:
        CleverError: An argument, the model or all pictures are unfit, or the folder holds another
            run.
        KeyboardInterrupt: Ctrl-C. The piece at hand is finished and kept first; a second one stops
            at once.
        SystemExit: Another signal stopped the run; its status is 128 and the signal.

    >>> import clever_ext as cx, tempfile, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    >>> pictures = torch.utils.data.TensorDataset(torch.rand(2, 3, 4, 4), torch.tensor([0, 2]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = cx.score_run(model, pictures, folder, progress=False)
    >>> result.table["image"].unique().tolist(), result.metadata["complete"]
    (['0', '1'], True)
    """
    source = opened(images, out, limit, sample, sample_seed, workers)
    scorer = Scorer.of(
        loaded(model, source, local_device(device), dtype),
        device_batch=device_batch,
        dtype=dtype,
        prepare=prepare,
        candidates=candidates,
        norm=norm,
        radius=radius,
        targets=targets,
        estimator=estimator,
        max_gradients=max_gradients,
        n_batches=n_batches,
        batch_samples=batch_samples,
        tolerance=tolerance,
        race=race,
        keep_witness=keep_witness,
        clip=clip,
        seed=seed,
    )
    with in_python():
        return scored(
            source,
            scorer,
            out,
            find_ranks(),
            workers,
            tell=partial(tell, aloud=progress),
            show=progress,
            shard=shard,
            retry_errors=retry_errors,
        )


def opened(
    images: str | os.PathLike[str] | Images,
    out: str | os.PathLike[str],
    limit: int | None,
    sample: int | None,
    sample_seed: int,
    workers: int,
) -> ImageSource:
    """Open the pictures of a run, and check its other plain arguments; they are `score_run`'s."""
    check_integer("workers", workers, 0, 2**31 - 1)
    for name, number in (("limit", limit), ("sample", sample)):
        if number is not None:
            check_integer(name, number, 1, 2**31 - 1)
    if not isinstance(out, (str, os.PathLike)) or not os.fspath(out):
        raise CleverError(f"out is {out!r}", "the path of a folder", "name one, such as runs/mine")
    source = images if isinstance(images, ImageSource) else open_images(images)
    return select(source, limit, sample, sample_seed)


def scored(
    source: ImageSource,
    scorer: Scorer,
    out: str | os.PathLike[str],
    ranks: Ranks,
    workers: int,
    tell: Tell,
    show: bool,
    shard: tuple[int, int] = (0, 1),
    retry_errors: bool = False,
) -> CleverResult:
    """Score pictures into a folder, or go on with that; the arguments are those of `score_pieces`.

    Returns:
        All rows of the folder.

    Raises:
        CleverError: As `score_run`, whose words name options of the command line.
        KeyboardInterrupt: Likewise.
        SystemExit: Likewise.
    """
    status = score_pieces(
        RunFolder(out),
        source,
        scorer,
        ranks,
        workers=workers,
        shard=shard,
        tell=tell,
        show=show,
        retry_errors=retry_errors,
        look=partial(look_at_run, source, scorer, out, shard),
    )
    if status == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    if status:
        raise SystemExit(status)
    return load_run(out)


def _argument(option: re.Match[str]) -> str:
    name, value = option.groups()
    return name.replace("-", "_") + (f"={value!r}" if value else "")


@contextmanager
def in_python() -> Iterator[None]:
    """Let messages name arguments, where they name options of the command line."""
    try:
        yield
    except CleverError as error:
        fix = _OPTION.sub(_argument, error.fix)
        if fix == error.fix:
            raise
        where = "arguments of cx.open_images, cx.load_model or this function"
        raise CleverError(error.wrong, error.expected, f"{fix} ({where})") from error


def loaded(model: Any, source: ImageSource, device: Any, dtype: torch.dtype | None) -> LoadedModel:
    """Return a model where it is to run; one that the user holds is not moved."""
    if isinstance(model, str):
        return load_model(model).to(check_device(device, None, devices()[-1]), dtype)
    if not isinstance(model, (LoadedModel, nn.Module)):
        raise CleverError(
            f"model is {type(model).__name__}",
            "a name that load_model knows, what it returned, or a torch.nn.Module",
            "wrap it in a torch.nn.Module; or score tensors with clever_score",
        )
    if isinstance(model, LoadedModel):
        found = model
    elif (size := _size_of_numbers(source)) is not None:
        found = load_model(model, image_size=size)
    else:
        raise CleverError(
            "a network does not say how large the pictures are that it takes",
            "a model that does, or pictures that are floating-point numbers of its input's size",
            "give cx.load_model(model, image_size=224, mean=..., std=...)",
        )
    check_device(device, model_placement(found.model)[0], torch.device("cpu"))
    return found


def _size_of_numbers(source: ImageSource) -> Any:
    """Return height and width of pictures that are floating-point numbers: they are not resized."""
    with suppress(CleverError, OSError):
        first = source[0].place.read()
        if isinstance(first, np.ndarray) and first.dtype != np.uint8:
            return first.shape[-2:]
    return None


def tell(said: str | Finding, aloud: bool) -> None:
    """Say what is known before the first gradient."""
    if isinstance(said, Finding):
        warn([said])
    elif aloud:
        print(said, file=sys.stderr, flush=True)
