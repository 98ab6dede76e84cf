"""Whether pictures become the same pixels as by torchvision and by timm.

Sizes: what they make of a picture's size, by their own code. Pixels: noise of many sizes by
torchvision's transforms, photographs by the transform of every network that they have weights of.
With --table the tests' table is written, which holds where neither library is installed.

    python benchmarks/preprocessing.py --out benchmarks/results/preprocessing.json
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peers import peer
from PIL import Image
from side_by_side import write
from transforms import (
    TimmConfig,
    digest,
    geometry,
    noise,
    of_preset,
    timm_configs,
    torchvision_presets,
    torchvision_transform,
)

from clever_ext.data import Preprocessing, package_folder
from clever_ext.data.preprocessing import Interpolation

LONGEST = 2000
#: Resize and crop of networks of torchvision, and one that pads.
CROPS = ((256, 224), (232, 224), (342, 299), (384, 384), (28, 28), (200, 224))
FILTERS: tuple[Interpolation, ...] = ("bilinear", "bicubic")
OTHERS = [
    TimmConfig(size, pct, mode, how, (0.485, 0.456, 0.406))
    for size, pct, how in (
        ((96, 192), 0.875, "bicubic"),
        ((192, 96), 1.0, "lanczos"),
        ((40, 41), 0.9, "box"),
        ((32, 32), 0.95, "hamming"),
        ((64, 48), 1.15, "nearest"),
    )
    for mode in ("center", "squash", "border")
]
"""Shapes and filters that no network of timm's has, but its transforms take."""


def sizes(count: int, chance: random.Random) -> Iterator[tuple[int, int]]:
    """Heights and widths: the smallest and largest, thin ones, and any."""
    yield from ((1, 1), (1, LONGEST), (LONGEST, 1), (LONGEST, LONGEST), (2, 3), (1, 2), (2, 1))
    for number in range(7, count):
        height, width = (chance.randint(1, LONGEST) for _ in range(2))
        yield (height, width) if number % 10 else (min(height, 9), width)


def count_sizes(count: int) -> Iterator[dict[str, Any]]:
    """Compare resized sizes and offsets."""
    pairs: list[tuple[str, Any, Preprocessing]] = [
        (
            f"torchvision, Resize({resize}), CenterCrop({crop})",
            torchvision_transform(resize, crop, "bilinear"),
            Preprocessing(crop, resize),
        )
        for resize, crop in CROPS
    ]
    pairs += [(f"timm, {_say(each)}", each.theirs(), each.ours()) for each in OTHERS]
    for name, theirs, ours in pairs:
        found = [(size, geometry(theirs, *size)) for size in sizes(count, random.Random(0))]
        # Timm's border mode rounds sides to 0, and makes no picture then.
        made = [(size, expected) for size, expected in found if min(expected[0]) > 0]
        differ = sum(ours.geometry(*size) != expected for size, expected in made)
        yield {**_figure("sizes", name, len(made), differ), "not made": count - len(made)}


def count_noise(count: int) -> Iterator[dict[str, Any]]:
    """Compare pixels of noise."""
    for how in FILTERS:
        chance, differ, made = random.Random(1), 0, 0
        for number, size in enumerate(sizes(count, chance)):
            resize, crop = CROPS[number % len(CROPS)]
            picture = noise(*size, number)
            theirs = torchvision_transform(resize, crop, how)(picture)
            differ += not torch.equal(theirs, Preprocessing(crop, resize, how)(picture))
            made += 1
        yield _figure("pixels of noise", f"torchvision, {how}", made, differ)


def count_photographs(most: int | None) -> Iterator[dict[str, Any]]:
    """Compare pixels of photographs by the transform of every network with weights."""
    files = sorted((package_folder("foolbox") / "data").glob("imagenet_*.jpg"))[:3]
    photographs = [Image.open(file).convert("RGB") for file in files]
    presets = [(preset, *of_preset(preset)) for preset in torchvision_presets()]
    differ = sum(
        not torch.equal(preset(of), then(first(of)))
        for preset, first, then in presets
        for of in photographs
    )
    compared = len(presets) * len(photographs)
    yield {
        **_figure("pixels of photographs", "torchvision, networks with weights", compared, differ),
        "configs": len(presets),
    }
    for name, configs in (("networks with weights", timm_configs()[:most]), ("others", OTHERS)):
        pairs = [(config, picture) for config in configs for picture in photographs]
        differ = sum(not torch.equal(_timm(each, of), each.ours()(of)) for each, of in pairs)
        yield {
            **_figure("pixels of photographs", f"timm, {name}", len(pairs), differ),
            "configs": len(configs),
        }


def _timm(config: TimmConfig, picture: Image.Image) -> torch.Tensor:
    pixels: torch.Tensor = config.theirs()(picture)
    return pixels.float().div(255)


def _say(config: TimmConfig) -> str:
    height, width = config.image_size
    return f"{config.crop_mode}, {height} x {width}, crop_pct {config.crop_pct}"


def _figure(what: str, case: str, compared: int, differ: int) -> dict[str, Any]:
    figure = {"figure": what, "case": case, "compared": compared, "differ": differ}
    print(figure, flush=True)
    return figure


def make_table() -> list[dict[str, Any]]:
    """Write down what the libraries make of some pictures of noise."""
    chance, rows = random.Random(2), []
    found = [size for size in sizes(90, chance) if max(size) / min(size) < 100]
    cases: list[tuple[Callable[[Image.Image], torch.Tensor], Any, Preprocessing, str]] = []
    for resize, crop in (*CROPS, ((30, 50), (24, 40)), (40, (20, 50))):
        for how in FILTERS:
            transform = torchvision_transform(resize, crop, how)
            cases.append((transform, transform, Preprocessing(crop, resize, how), "torchvision"))
    configs = [*random.Random(3).sample(timm_configs(), 12), *OTHERS]
    cases += [(lambda of, c=c: _timm(c, of), c.theirs(), c.ours(), "timm") for c in configs]  # type: ignore[misc]
    for number, (theirs, transform, ours, library) in enumerate(cases):
        for height, width in (found[number % len(found)], found[-1 - number % len(found)]):
            resized, start = geometry(transform, height, width)
            if min(resized) > 0:
                rows.append(
                    {
                        "library": library,
                        "height": height,
                        "width": width,
                        "seed": number,
                        "preprocessing": {k: v for k, v in asdict(ours).items() if v is not None},
                        "resized": resized,
                        "start": start,
                        # Pillow 13 resizes tall pictures in another order than those before it.
                        "pixels": digest(theirs(noise(height, width, number)))
                        if height <= 1.5 * width
                        else None,
                    }
                )
    return rows


def main() -> None:
    """Compare, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, default=36_000, help="sizes compared by numbers")
    parser.add_argument("--pictures", type=int, default=600, help="of noise, compared by pixels")
    parser.add_argument("--configs", type=int, help="of timm; default: all")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="write the tests' table instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.table:
        lines = ",\n".join(json.dumps(row) for row in make_table())
        args.table.write_text(f"[\n{lines}\n]\n")
        return
    figures = [
        *count_sizes(args.sizes),
        *count_noise(args.pictures),
        *count_photographs(args.configs),
    ]
    made = {name: peer(name).__version__ for name in ("torchvision", "timm", "PIL")}
    write(args.out, figures, compared_with=made)


if __name__ == "__main__":
    main()
