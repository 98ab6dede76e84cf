"""Scores the pictures of a run, from the first command to the last part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from .. import durable
from ..cost import Passes, of_cost
from ..data import ImageSource, other_contents, resolve
from ..data.loading import Loader, Pending
from ..estimators.subjects import Subjects
from ..estimators.table import gradients_of_image
from ..findings import Finding, of_concern
from ..results.result import CleverResult
from .changed_pictures import check_pictures
from .description import (
    choice_of,
    choice_to_json,
    completed,
    describe_run,
    findings_of,
    of_parts,
    renewed,
)
from .earlier_rows import with_earlier
from .folder import Failed, RunFolder, Version, version_of
from .identity import check_same
from .log import Log, Tally, facts_of, open_log
from .meter import Meter, meter
from .pieces import Pieces, piece_size
from .ranks import Ranks, first_round, left_over
from .repair import mend, recovered
from .scorer import Scorer
from .stopping import Stopper, stopper

#: Gradients below which it is not worth a measurement how long they take.
_SHORT = 2000
#: What the first process has to say before it begins.
Tell = Callable[[str | Finding], None]
#: What looks at pictures by a loader of them.
Look = Callable[[Loader], Sequence[Finding]]
#: What a run without labels does not know.
NO_LABELS = (
    "There are no labels: a picture that the model gets wrong is scored as if it were right."
)


class Run:
    """A run that is under way, as one process sees it.

    Three things go on at a time: the pictures of the next piece are read, those of this one are
    scored, the rows of the last one are written.
    """

    def __init__(
        self,
        folder: RunFolder,
        description: dict[str, Any],
        source: ImageSource,
        scorer: Scorer,
        loader: Loader,
        ranks: Ranks,
        again: dict[int, Version],
    ) -> None:
        self.folder, self.source, self.scorer = folder, source, scorer
        self.loader, self.ranks = loader, ranks
        self.pieces = Pieces.of(description)
        self._again = again  # parts that are there and to be replaced, as they were at the start
        self._of_parts = {"run": of_parts(description), "run_id": description["run_id"]}
        self._writer = ThreadPoolExecutor(1, "clever_ext writer")
        self._writing: Future[None] | None = None
        self._longest = 0.0  # seconds that a piece took
        self._told: set[Finding] = set()

    def score(self, log: Log, shown: Meter, stop: Stopper) -> None:
        """Score pieces until none is missing, or the run is told to stop.

        Raises:
            CleverError: a part cannot be written.
            KeyboardInterrupt: it is told to stop at once.
        """
        with self._writer:
            for number, pending in self._ahead(stop):
                self._piece(number, pending, log, shown)
            self._written()
            rest = left_over(self.ranks, self._missing, self._longest, lambda: bool(stop))
            for number in rest:
                self._piece(number, self._submit(number), log, shown)
                self._written()

    def _finished(self) -> set[int]:
        """Return the pieces that need not be scored any more."""
        return {
            number
            for number, path in self.folder.finished().items()
            if number not in self._again or version_of(path) != self._again[number]
        }

    def _missing(self) -> list[int]:
        finished = self._finished()
        return [number for number in self.pieces.numbers if number not in finished]

    def _submit(self, number: int) -> Pending:
        return self.loader.submit(self.pieces.records(self.source, number))

    def _ahead(self, stop: Stopper) -> Iterator[tuple[int, Pending]]:
        """Yield pieces while the pictures of the next one are read."""
        before = None
        for number in first_round(self.ranks, self.pieces.numbers, self._finished()):
            following = (number, self._submit(number))
            if before is not None:
                yield before
            if stop:
                return
            before = following
        if before is not None:
            yield before

    def _piece(self, number: int, pending: Pending, log: Log, shown: Meter) -> None:
        n_images = len(self.pieces.places(number))
        begin = time.monotonic()
        loaded = pending.result()
        read = time.monotonic()
        result = self.scorer.piece(loaded, lambda done, total: shown.within(n_images, done, total))
        kept: list[int] = []
        if number in self._again:
            result, kept = with_earlier(CleverResult.load(self.folder.part(number)), result)
        end = time.monotonic()
        self._longest = max(self._longest, end - begin)
        self._written()
        seconds = {"waited": round(read - begin, 4), "scored": round(end - read, 4)}
        facts = {"seconds": seconds} | ({"kept": kept} if kept else {})
        self._writing = self._writer.submit(self._keep, number, result, facts, log, shown)

    def _keep(
        self, number: int, result: CleverResult, facts: dict[str, Any], log: Log, shown: Meter
    ) -> None:
        begin = time.monotonic()
        late = self._late(result)
        for each in late - self._told:
            log.write("found", said=str(each))
        self._told |= late
        warnings = [*findings_of(self._of_parts), *late]
        metadata = {**result.metadata, **self._of_parts, "piece": number}
        metadata["warnings"] = [each.to_json() for each in of_concern(warnings)]
        self.folder.add(number, CleverResult(result.table, metadata))
        facts["seconds"]["wrote"] = round(time.monotonic() - begin, 4)
        log.write("piece", piece=number, **facts, **facts_of(result))
        shown.finished()

    def _late(self, result: CleverResult) -> set[Finding]:
        """Return what was found of the model by the work itself."""
        told = findings_of(result.metadata)
        return {each for each in told if each.topic == "model"} - set(findings_of(self._of_parts))

    def _written(self) -> None:
        """Wait until the last piece is written."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None


def score_pieces(
    folder: RunFolder,
    source: ImageSource,
    scorer: Scorer,
    ranks: Ranks,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    tell: Tell | None = None,
    show: bool = True,
    retry_errors: bool = False,
    look: Look | None = None,
    asked: str | None = None,
) -> int:
    """Score pictures into a folder, or go on where that was stopped.

    The finished run holds the same bits however often it was stopped, and whoever scored what.

    Args:
        folder: Of the run; a new one, or one that the same call began.
        source: The pictures.
        scorer: Model and settings.
        ranks: The processes that share the work.
        workers: Processes that load pictures for this one; 0: it does so itself.
        shard: (i, n): score only every n-th piece, from the i-th on.
        tell: Called by the first process with what the run will take and what was found, before the
            first gradient.
        show: Whether it shows the progress too, on standard error.
        retry_errors: Whether finished pieces with pictures that have an error are scored again.
        look: Called by the first process before anything is written; what it finds is told, kept.
        asked: What the first process writes into the folder as `config.yaml`.

    Returns:
        An exit status: 0, or 128 and the signal that stopped the run; what was finished is kept.

    Raises:
        CleverError: the model cannot be scored, the folder holds another run, others are at work
            there, or a file cannot be written.
    """
    tell = tell if ranks.leader else None
    with ExitStack() as stack:
        stop = stack.enter_context(stopper())
        loader = stack.enter_context(Loader(source, scorer.model.preprocessing, workers))
        start = _Start(folder, source, scorer, loader, ranks, shard, tell, retry_errors, look)
        description = stack.enter_context(start.begun())
        log = stack.enter_context(open_log(folder.log))
        if asked is not None and ranks.leader:
            durable.write(folder.config, asked.encode())
        log.write("start", job=ranks.job, first=ranks.leader, device=description["device"])
        again = {n: each.version for n, each in start.failed.items()} if retry_errors else {}
        if again and ranks.leader:
            log.write("retry", pieces=list(again))
        pieces = Pieces.of(description)
        tally = Tally(folder.log)
        tally.update()
        n_images = pieces.images(pieces.numbers)
        shown = stack.enter_context(meter(show and tell is not None, n_images, tally))
        run = Run(folder, description, start.source, scorer, loader, ranks, again)
        try:
            run.score(log, shown, stop)
        except KeyboardInterrupt:
            log.write("stopped", at_once=True)
            return stop.status or 130
        log.write("stopped" if stop else "end")
        return stop.status


@dataclass
class _Start:
    """The beginning of a run, or of its going on: what can fail, before the first gradient.

    The attributes are the arguments of `score_pieces`.
    """

    folder: RunFolder
    source: ImageSource
    scorer: Scorer
    loader: Loader
    ranks: Ranks
    shard: tuple[int, int]
    tell: Tell | None
    retry_errors: bool
    look: Look | None

    @contextmanager
    def begun(self) -> Iterator[dict[str, Any]]:
        """Begin a run or take up one that was begun, and hold its lock.

        Yields:
            What `run.json` says; the pictures have the numbers of their classes then.
        """
        folder, scorer, ranks = self.folder, self.scorer, self.ranks
        earlier = recovered(folder) if folder.exists else None
        if earlier is not None and scorer.threads is None:
            torch.set_num_threads(earlier["machine"]["threads"] or torch.get_num_threads())
        first = scorer.first(self.source, self.loader)
        subjects = scorer.look(first)
        self.source = resolve(self.source, subjects.logits.shape[1], scorer.model.class_names)
        size = piece_size(subjects, scorer.settings) if earlier is None else Pieces.of(earlier).size
        pieces = Pieces(len(self.source), size, self.shard)
        found = self.look(self.loader) if self.look and ranks.leader else ()
        here = describe_run(scorer, self.source, first, pieces, earlier, found)

        def take_up() -> None:
            """Clear away what is left of earlier processes, while none is at work."""
            ranks.start_over()
            if folder.exists:
                description = completed(recovered(folder), here)
                check_same(description, here, contents=not self.retry_errors)
                mend(folder, description)
                other = bool(other_contents(*(d["data"]["contents"] for d in (description, here))))
                check_pictures(folder, description, self.source, scorer, self.loader, other)

        folder.make()
        with folder.locked(ranks.job, take_up):
            n_images = self._said(here, pieces, subjects)
            n_gradients = n_images * gradients_of_image(scorer.settings, subjects.n_targets)
            if not ranks.leader:
                ranks.wait_until_begun()
            elif not folder.exists:
                choice = scorer.choose(subjects, max(1, n_gradients))
                folder.describe({**here, "engine": choice_to_json(choice)})
            elif self.retry_errors:
                folder.describe(renewed(folder.read(), here))
            ranks.begun()
            description = folder.read()
            check_same(description, here, contents=not self.retry_errors)
            scorer.engine.settle(choice_of(description))
            if self.tell and n_gradients >= _SHORT:
                scorer.choose(subjects, n_gradients)  # as it is settled
                passes = Passes(0.0, 1 / scorer.speed(subjects))
                told = of_cost(scorer.settings, n_images, subjects.n_targets, passes)
                self.tell(told.said if told.well else told)
            yield description

    @cached_property
    def failed(self) -> dict[int, Failed]:
        """The parts with errors, as they are at the start."""
        return self.folder.with_errors()

    def _said(self, here: dict[str, Any], pieces: Pieces, subjects: Subjects) -> int:
        """Say what there is to do, and what was found; return how many pictures are left."""
        finished = set(self.folder.finished())
        if self.retry_errors:
            finished -= self.failed.keys()
        n_images = pieces.images(pieces.numbers)
        left = pieces.images([number for number in pieces.numbers if number not in finished])
        if self.tell is None:
            return left
        if not n_images:
            self.tell("This shard has no pictures: there are more shards than pieces.")
        elif self.folder.exists:
            self.tell(f"Going on: {n_images - left:,} of {n_images:,} pictures are finished.")
            errors = sum(each.pictures for each in self.failed.values())
            if errors and not self.retry_errors:
                self.tell(f"Pictures with errors: {errors:,}. --retry-errors scores them again.")
        findings = findings_of(here)
        if left:
            settings, n_targets = self.scorer.settings, subjects.n_targets
            rows = left * n_targets * len(settings.balls)
            n_gradients = left * gradients_of_image(settings, n_targets)
            self.tell(f"{left:,} pictures, {rows:,} rows, {n_gradients:,} gradients at most.")
            if self.scorer.candidates is not None:
                self.tell(self.scorer.candidates.words(self.source) + ".")
            unlabelled = all(record.label is None for record in self.source)
            if unlabelled and all(each.topic != "labels" for each in findings):
                self.tell(NO_LABELS)
        for found in findings:
            self.tell(found)
        return left
