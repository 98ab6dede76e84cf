"""Scores pictures into the folder of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from ..data import ImageFolder, ImageRecord, load
from ..engine import Engine
from ..errors import CleverError
from ..gradients import TorchOracle
from ..inputs import Settings, check_batch, check_device_batch, check_labels
from ..models import LoadedModel
from ..progress import Progress
from ..results import CleverResult, make_table
from ..scoring import score_batch
from ..targets import resolve_targets
from .folder import RunFolder

#: Pictures that are loaded and scored together, and whose rows make one part.
PICTURES_PER_PART = 16


@dataclass(frozen=True)
class Scorer:
    """Scores pictures, part after part; one that cannot be scored becomes a row that says why."""

    model: LoadedModel
    settings: Settings
    device_batch: int | str
    dtype: torch.dtype | None
    prepare: str | Sequence[str]

    @cached_property
    def engine(self) -> Engine:
        """What makes the passes, for all the parts."""
        return Engine(self.model.model, self.prepare, check_device_batch(self.device_batch))

    def _score(
        self, records: Sequence[ImageRecord], pixels: Sequence[torch.Tensor], progress: Progress
    ) -> CleverResult:
        labels = [record.label for record in records]
        batch = check_batch(
            torch.stack(list(pixels)),
            None if None in labels else np.array(labels),
            np.array([record.image_id for record in records]),
            self.model.model,
            None,
            self.dtype,
        )
        result = score_batch(self.engine, batch, self.settings, progress, self.model.name)
        names = {record.image_id: record.name for record in records}
        result.table["image"] = [names[u] for u in result.table["image_id"]]
        return result

    def _score_or_error(
        self, records: Sequence[ImageRecord], pixels: Sequence[torch.Tensor], progress: Progress
    ) -> list[CleverResult]:
        """Score pictures together; where that is refused, one by one, to keep what can be kept."""
        try:
            return [self._score(records, pixels, progress)] if records else []
        except CleverError as error:
            if len(records) == 1:
                return [_error_row(records[0], error)]
        pairs = zip(records, pixels, strict=True)
        return [part for r, x in pairs for part in self._score_or_error([r], [x], progress)]

    def part(self, records: Sequence[ImageRecord], progress: Progress) -> CleverResult:
        """Load and score some pictures."""
        good, pixels, errors = [], [], []
        for record in records:
            try:
                pixels.append(load(record, self.model.preprocessing))
                good.append(record)
            except CleverError as error:
                errors.append(_error_row(record, error))
        return CleverResult.concatenate(self._score_or_error(good, pixels, progress) + errors)

    def check(self, folder: ImageFolder) -> None:
        """Refuse what would fail for every picture, by the first one that can be read.

        Raises:
            CleverError: the model cannot be scored, or settings or labels do not fit it.
        """
        model, settings = self.model.model, self.settings
        for record in folder:
            try:
                pixels = load(record, self.model.preprocessing)
            except CleverError:
                continue  # becomes a row of its own when its turn comes
            batch = check_batch(pixels[None], None, None, model, None, self.dtype)
            self.engine.check(batch.images)
            logits = TorchOracle(model).logits(batch.images).double().cpu().numpy()
            # A target that is this picture's class concerns this picture alone.
            nothing_scored = np.array([False])
            resolve_targets(settings.targets, logits, 0, batch.image_ids, nothing_scored)
            known = [other.label for other in folder if other.label is not None]
            check_labels(np.array(known, dtype=np.int64), logits.shape[1])
            return
        raise CleverError(
            f"none of the {len(folder)} pictures in {folder.root} can be read",
            "at least one picture",
            "check the folder",
        )


def _error_row(record: ImageRecord, error: CleverError) -> CleverResult:
    rows: dict[str, Any] = {
        "image_id": [record.image_id],
        "image": [record.name],
        "label": [record.label],
        "status": ["error"],
        "estimator": ["clever"],
        "error": [str(error)],
    }
    return CleverResult(make_table(rows))


def score_folder(
    run: RunFolder,
    folder: ImageFolder,
    scorer: Scorer,
    progress: Progress,
) -> bool:
    """Score a folder of pictures into a run.

    Args:
        run: Where the results go; must not hold a run yet.
        folder: The pictures.
        scorer: Model and settings.
        progress: Called with the gradients done and those of the whole run.

    Returns:
        Whether all pictures were scored; False after Ctrl-C, with all that was finished written.

    Raises:
        CleverError: the run exists, or the model cannot be scored.
    """
    scorer.check(folder)
    run.create()
    listing = "\n".join(f"{record.name}\t{record.label}" for record in folder)
    description: dict[str, Any] = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "data": {
            "folder": str(folder.root),
            "images": len(folder),
            "listing_sha256": sha256(listing.encode()).hexdigest(),
        },
        "preprocessing": vars(scorer.model.preprocessing),
    }
    gradients = 0

    def report(done: int, total: int) -> None:
        # How many gradients a picture takes depends on its classes: the part at hand tells.
        left = total * max(0, len(folder) - first - len(records)) // max(1, len(records))
        progress(gradients + done, gradients + total + left)

    complete = True
    for number, first in enumerate(range(0, len(folder), PICTURES_PER_PART)):
        records = folder[first : first + PICTURES_PER_PART]
        result = scorer.part(records, report)
        run.add(number, result)
        description |= result.metadata
        gradients += int(result.table["n_gradients"].sum())
        complete = bool(result.metadata.get("complete", True))
        run.describe(description | {"complete": complete and first + len(records) == len(folder)})
        if not complete:
            break
    return complete
