"""`validate`: how far each score can be believed on a network, beside the flips of attacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import ImageSource
from ..data.loading import Loader
from ..estimators.table import check_settings
from ..evaluating import in_python, loaded, opened, scored, tell
from ..findings import Finding
from ..inputs.batch import Device, DeviceBatch
from ..inputs.images import Images
from ..inputs.targets import Targets
from ..kernels.balls import Norms, check_integer
from ..models.loaded import LoadedModel
from ..runs.folder import RunFolder
from ..runs.ranks import Alone
from ..runs.scorer import Scorer
from .asked import (
    ATTACK_GRADIENTS,
    BATCH_SAMPLES,
    LIMIT,
    MAX_GRADIENTS,
    N_BATCHES,
    TARGETS,
    Asked,
)
from .attacking import Attacking, attackable
from .attacks import Chosen, choose
from .rows import assembled
from .validation import Validation

#: A run of each, in a folder of its name.
ESTIMATORS = ("first-order", "steepest", "clever")
#: Gradients of an attack at least, for a row.
_LEAST = 10


def validate(
    model: str | LoadedModel | nn.Module,
    images: str | os.PathLike[str] | Images,
    out: str | os.PathLike[str],
    *,
    norm: Norms = 2,
    targets: Targets = TARGETS,  # type: ignore[assignment]
    attacks: Sequence[str] | None = None,
    attack_gradients: int = ATTACK_GRADIENTS,
    max_gradients: int = MAX_GRADIENTS,
    n_batches: int = N_BATCHES,
    batch_samples: int = BATCH_SAMPLES,
    seed: int = 0,
    limit: int | None = None,
    sample: int | None = None,
    sample_seed: int = 0,
    device: Device | None = None,
    device_batch: DeviceBatch = "auto",
    dtype: torch.dtype | None = None,
    prepare: Any = "auto",
    workers: int = 0,
    progress: bool = True,
) -> Validation:
    """Tell how far each score can be believed on a network, as `clever-ext validate` does.

    Pictures are scored by every estimator, and attacked by what is installed of Foolbox and
    adv-lib. The nearest flip that is known of each picture then stands beside its scores. The same
    call goes on where it was stopped: finished pieces are neither scored nor attacked again.

    Args:
        model: As for `score_run`, like `images`; attacks keep within pixels in [0, 1].
        images: Pictures; those that the model gets wrong are left out, if there are labels.
        out: A folder: runs of each estimator, what the attacks found, and `validation.parquet`.
        norm: p, or several; attacks are of 1, 2 and inf.
        targets: As for `score_run`; each picture's smallest score and nearest flip count.
        attacks: Names of attacks, as `clever-ext validate --help` lists them; None: all.
        attack_gradients: Of each attack for each picture, target and norm; those that see only
            answers take five forward passes in the place of one.
        max_gradients: Of the bracket.
        n_batches: N_b of the paper's estimator.
        batch_samples: Its N_s.
        seed: Of the samples.
        limit: Take the first so many pictures; default: 20, without `sample`.
        sample: Take so many at random, always the same.
        sample_seed: Another takes others.
        device: Where to run; default: where the model is.
        device_batch: As for `clever_score`; attacks take no more rows at once.
        dtype: Of images and samples; default: the model's.
        prepare: As for `clever_score`; attacks take the model as it is.
        workers: As for `score_run`.
        progress: Whether to tell on standard error how far it is.

    Returns:
        The table of figures, the rows behind it, and what they say in words.

    Raises:
        CleverError: As `score_run`; or no attack that was asked for is installed.
        KeyboardInterrupt: Ctrl-C. What is finished is kept.

    >>> import clever_ext as cx, tempfile, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = cx.validate(
    ...         model, torch.rand(4, 3, 4, 4), folder, attacks=["FMN"], attack_gradients=50,
    ...         max_gradients=50, n_batches=4, batch_samples=8, progress=False,
    ...     )
    >>> found.table["score"].tolist()[:2], len(found.rows)
    (['first order', 'lower end of the bracket'], 4)
    """
    asked = Asked(
        norm, targets, max_gradients, n_batches, batch_samples, seed, attack_gradients,
        device_batch, dtype, prepare,
    )  # fmt: skip
    with in_python():
        chosen = chosen_for(asked, attacks)
    limit = LIMIT if limit is None and sample is None else limit
    source = opened(images, out, limit, sample, sample_seed, workers)
    with in_python():
        return validated(
            loaded(model, source, device, dtype),
            source,
            Path(out),
            asked,
            chosen,
            workers,
            tell=partial(tell, aloud=progress),
            show=progress,
        )


def chosen_for(asked: Asked, names: Sequence[str] | None) -> Chosen:
    """Check the settings of a validation, and choose its attacks: before any work is done.

    Raises:
        CleverError: a setting is unfit, or there are no attacks.
    """
    check_integer("attack_gradients", asked.attack_gradients, _LEAST, 2**31 - 1)
    of_clever = asked.of("clever")
    for name in ("device_batch", "dtype", "prepare", "threads"):
        del of_clever[name]
    return choose(names, check_settings(**of_clever).norms)


def validated(
    model: LoadedModel,
    source: ImageSource,
    out: Path,
    asked: Asked,
    chosen: Chosen,
    workers: int,
    tell: Callable[[str | Finding], None],
    show: bool,
    begun: Callable[[], object] = lambda: None,
) -> Validation:
    """Validate, or go on with that; the arguments are what `validate` makes of its own.

    `begun` is called once the folder is known to be that of this validation.
    """
    tell = _once(tell)
    for each in chosen.findings:
        tell(each)
    scorers = {name: Scorer.of(model, **asked.of(name)) for name in ESTIMATORS}
    runs = {}
    for name, scorer in scorers.items():
        tell(f"Scores of the estimator {name}:")
        runs[name] = scored(source, scorer, out / name, Alone(), workers, tell, show)
        if len(runs) == 1:
            begun()
    folder = RunFolder(out / "attacks")
    folder.make()
    with folder.locked(None), Loader(source, model.preprocessing, workers) as loader:
        attacking = Attacking(
            runs["steepest"], scorers["steepest"], source, chosen, asked.attack_gradients,
            folder.parts, loader, tell,
        )  # fmt: skip
        tell(_said(attacking))
        try:
            found = list(attacking.found())
        except KeyboardInterrupt:
            tell("Stopped. What is finished is kept; the same command or call goes on.")
            raise
    findings = [*chosen.findings, *attacking.findings]
    validation = assembled(runs, found, findings)
    validation.save(out / "validation.parquet")
    return validation


def _once(tell: Callable[[str | Finding], None]) -> Callable[[str | Finding], None]:
    """Let a finding be told once, though each run of the same pictures has it."""
    told: set[Finding] = set()

    def once(said: str | Finding) -> None:
        if isinstance(said, Finding):
            if said in told:
                return
            told.add(said)
        tell(said)

    return once


def _said(attacking: Attacking) -> str:
    """Say what attacks will take."""
    table = attacking.run.table
    rows = [(p, int((attackable(table) & (table["norm"] == p)).sum())) for p in attacking.norms]
    chosen = attacking.chosen.attacks
    n_gradients = sum(
        n * attacking.gradients for p, n in rows for each in chosen if p in each.norms
    )
    names = ", ".join(each.name for each in chosen)
    n_rows = sum(n for _, n in rows)
    s = "s" * (n_rows != 1)
    return f"Attacks on {n_rows:,} row{s}: {names}; about {n_gradients:,} gradients."
