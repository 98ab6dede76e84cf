"""Ten thousand damaged pictures through real workers: no crash, no hang, memory bounded."""

import re
from collections import Counter
from pathlib import Path

import pytest
from damage import DAMAGES, damaged_pictures

from clever_ext.data import Loader, Preprocessing, loading, open_images

COUNT, BATCH = 10_000, 500


def peak_memory(loader: Loader) -> int:
    """Largest resident set of a worker so far, in bytes."""
    status = [Path(f"/proc/{w._process.pid}/status").read_text() for w in loader._workers]
    return max(int(re.search(r"VmHWM:\s+(\d+)", text)[1]) * 1024 for text in status)


def test_each_of_ten_thousand_gives_pixels_or_an_error(tmp_path: Path) -> None:
    outcomes: Counter[tuple[str, str]] = Counter()
    peak = 0
    paths = [tmp_path / str(number) for number in range(COUNT // BATCH)]
    for number, folder in enumerate(paths):
        folder.mkdir()
        damage = {}
        for picture in damaged_pictures(BATCH, seed=1, first=number * BATCH):
            (folder / picture.name).write_bytes(picture.content)
            damage[picture.name] = picture.damage
        source = open_images(folder)
        assert len(source) == BATCH
        with Loader(source, Preprocessing(224, 256), 2) as loader:
            for each in loader.submit(source[:]).result():
                outcomes[damage[each.record.name], _outcome(each)] += 1
            peak = max(peak, peak_memory(loader))
        for name in damage:
            (folder / name).unlink()
    for (damage, outcome), count in sorted(outcomes.items()):
        print(f"{damage:24s}{count:6d}  {outcome}")
    print(f"largest resident set of a worker: {peak / 2**20:.0f} MiB")
    assert outcomes.total() == COUNT
    assert not [outcome for _, outcome in outcomes if "the process that read it" in outcome]
    assert outcomes["none", "pixels"] == -(-COUNT // len(DAMAGES))
    assert peak < loading.MEMORY


def _outcome(loaded: loading.Loaded) -> str:
    """Pixels, or the kind of error without its particulars."""
    if loaded.error is None:
        assert loaded.pixels.shape == (3, 224, 224)
        assert loaded.pixels.min() >= 0
        assert loaded.pixels.max() <= 1
        return "pixels"
    assert loaded.error.wrong
    wrong = loaded.error.wrong.removeprefix(repr(loaded.record.name)).strip()
    return re.sub(r"0x[0-9a-f]+|\d+|b'.*'|at\b.*", "#", wrong)[:70]


pytestmark = pytest.mark.faults
