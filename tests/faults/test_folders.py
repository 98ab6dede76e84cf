"""Folders of runs damaged at random: mended without loss, or refused in words."""

import random
import shutil

import pytest
from small_run import assert_same_bits

from clever_ext import CleverError


def truncate(chance, path):
    size = path.stat().st_size
    with path.open("rb+") as file:
        file.truncate(chance.randrange(size))


def flip(chance, path):
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 8, 64])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def damage(chance, folder):
    """Do one kind of damage; return its name."""
    part = folder.part(chance.randrange(3))
    kind = chance.choice(
        ["part cut", "part flipped", "part gone", "part of another", "json cut", "json flipped",
         "json gone", "lock", "log cut", "log flipped", "stray", "partial"]
    )  # fmt: skip
    match kind:
        case "part cut":
            truncate(chance, part)
        case "part flipped":
            flip(chance, part)
        case "part gone":
            part.unlink(missing_ok=True)
        case "part of another":
            shutil.copy(folder.part(0), folder.part(chance.randrange(1, 9)))
        case "json cut":
            truncate(chance, folder.description_file)
        case "json flipped":
            flip(chance, folder.description_file)
        case "json gone":
            folder.description_file.unlink(missing_ok=True)
        case "lock":
            (folder.path / "lock").write_bytes(chance.randbytes(20))
        case "log cut":
            truncate(chance, folder.log)
        case "log flipped":
            flip(chance, folder.log)
        case "stray":
            (folder.parts / chance.choice(["x", "part-7.parquet", ".hidden"])).write_bytes(b"x")
        case "partial":
            (folder.parts / ".part-00000.parquet.0123.partial").write_bytes(b"x")
    return kind


def outcome(small, out, whole):
    """Go on with a damaged run, and compare it; a refusal must say what to do."""
    try:
        assert small.score(out) == 0
        table = small.table(out)
    except CleverError as error:
        said = error
    else:
        assert_same_bits(whole, table)
        return "mended"
    assert said.fix
    return "refused: " + said.wrong.split(":")[0].replace(str(small.path / out), "RUN")


@pytest.mark.parametrize("n", [12, pytest.param(200, marks=pytest.mark.faults)])
def test_damaged_folders(small, n):
    chance = random.Random(0)
    small.score("whole")
    whole = small.table("whole")
    counts: dict[str, int] = {}
    for number in range(n):
        out = f"run{number}"
        shutil.copytree(small.path / "whole", small.path / out)
        kind = damage(chance, small.folder(out))
        end = f"{kind}: {outcome(small, out, whole)}"
        counts[end] = counts.get(end, 0) + 1
        shutil.rmtree(small.path / out)
    for key, count in sorted(counts.items()):
        print(f"{count:4d} {key}")
