"""One of two processes of a training: what it finds goes into a file."""

import json
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from unittest import SkipTest

import torch
from small_training import FEW, SAMPLED, digits, network
from torch import distributed

from clever_ext.errors import CleverError

IMAGES, LABELS = digits()


def plain(_: int) -> dict:
    """The part that callbacks share."""
    from torch.distributed.fsdp import fully_shard

    from clever_ext.compat import in_training

    calls, real = [], in_training.clever_score

    def counted(model, *args, **settings):
        calls.append(type(model).__name__)
        return real(model, *args, **settings)

    in_training.clever_score = counted
    model = torch.nn.parallel.DistributedDataParallel(network())
    pictures = in_training.Pictures(IMAGES[:3], LABELS[:3], 1, "at", FEW)
    pictures.check(model)
    found = {"numbers": pictures.numbers(model), "calls": list(calls)}
    model(IMAGES).sum().backward()  # which waits for the other process, and hangs if it is lost
    refused = in_training.Pictures(IMAGES[:3], LABELS[:3], 1, "at", {"targets": 77})
    for name, call in (("check", refused.check), ("later", refused.numbers)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                found[name] = [call(model), [str(each.message) for each in said]]
            except CleverError as error:
                found[name] = error.wrong
    whole = network()
    fully_shard(whole)
    try:
        pictures.check(whole)
    except CleverError as error:
        found["sharded"] = error.wrong
    return found


def torchmetrics(rank: int) -> dict:
    """A metric of which each process updates a share, as a DistributedSampler cuts it."""
    from clever_ext.compat.torchmetrics import CleverScore

    metric, lonely = (CleverScore(network(), **SAMPLED) for _ in range(2))
    for batch in IMAGES[:6][rank::2].split(2):
        metric.update(batch)
    if rank == 0:
        lonely.update(IMAGES[:3:2])
    return {
        "value": float(metric.compute()),
        "images": float(metric.images),
        "one without images": float(lonely.compute()),
    }


def lightning(_: int) -> dict:
    """A training by Lightning."""
    from test_lightning import trained

    model, trainer, _ = trained(Path(sys.argv[2]), strategy="ddp", devices=2)
    weights = float(sum(x.double().sum() for x in model.parameters()))
    logged = {name: float(x) for name, x in trainer.callback_metrics.items()}
    return {
        "logged": logged,
        "weights": weights,
        "best": trainer.checkpoint_callback.best_model_path,
    }


def transformers(_: int) -> dict:
    """A training by the Trainer."""
    from test_transformers import trained

    trainer, model = trained(Path(sys.argv[2]))
    weights = float(sum(x.double().sum() for x in model.parameters()))
    return {"log": trainer.state.log_history, "best": trainer.state.best_metric, "weights": weights}


def main(what: str, folder: str) -> None:
    """Join the other process, and write what is found."""
    sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "benchmarks")]
    from peers import peer

    with suppress(SkipTest):
        peer("torchvision")
    if what in ("plain", "torchmetrics"):
        distributed.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    found = globals()[what](rank)
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
