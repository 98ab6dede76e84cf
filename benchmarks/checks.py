"""How long the checks before a run take: EfficientNet-Lite0, foolbox's 20 photographs, ten targets.

Seconds of `look_at_run` with an engine of its own in each round, all but loading the model and
starting the process that reads pictures, which a run does anyway.

    python benchmarks/checks.py --out benchmarks/results/checks-cpu.json
"""

from __future__ import annotations

import tempfile
import time

from side_by_side import arguments, parsed, show, spread, write

from clever_ext.checks.run import look_at_run
from clever_ext.data import sample_pictures
from clever_ext.data.loading import Loader
from clever_ext.estimators.table import check_settings
from clever_ext.models.loading import load_model
from clever_ext.runs.scorer import Scorer


def main() -> None:
    """Check again and again."""
    args = parsed(arguments(__doc__))
    source, model = sample_pictures(), load_model("efficientnet-lite0")
    settings = check_settings(2, None, "top-10", 500, 1024, (0, 1), 0)
    taken = []
    with Loader(source, model.preprocessing, 1) as loader, tempfile.TemporaryDirectory() as out:
        loader.submit(source[:1]).result()  # its process has started
        for _ in range(args.rounds):
            begin = time.perf_counter()
            look_at_run(source, Scorer(model, settings), out, (0, 1), loader)
            taken.append(time.perf_counter() - begin)
    found = {
        "figure": "seconds of the checks before a run",
        "case": "EfficientNet-Lite0, 20 photographs",
        "target": 5,
        "at_most": True,
        "ratio": spread(taken),
        "rounds": taken,
    }
    show(found)
    write(args.out, [found])


if __name__ == "__main__":
    main()
