"""csrc/math on the host: each C++ test of this folder, and the streams' integers against Python."""

import os
import random
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from clever_ext.kernels import ops, reference

HERE = Path(__file__).parent / "math"
MATH = Path(__file__).parents[2] / "csrc" / "math"
# As the extension is built (CMakeLists.txt): no contraction, so that the arithmetic tested here is
# the one that runs there.
FLAGS = ["-std=c++20", "-O2", "-Wall", "-Wextra", "-ffp-contract=off", "-fno-math-errno"]

INT64 = (-(2**63), -1, 0, 1, 2**63 - 1)


def compiler() -> list[str]:
    """The machine's C++ compiler as a command; building the extension needed one."""
    named = shlex.split(os.environ.get("CXX", ""))
    found = (
        named or [path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))][:1]
    )
    assert found, "no C++ compiler: set CXX to one, or install g++"
    return found


@pytest.mark.parametrize("source", sorted(HERE.glob("*.cpp")), ids=lambda path: path.stem)
def test_host(source: Path, tmp_path: Path):
    program = tmp_path / source.stem
    command = [*compiler(), *FLAGS, f"-I{MATH}", str(source), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([program], capture_output=True, text=True, timeout=120)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_programs_are_found():
    """Without any, the test above would be skipped without a word."""
    assert list(HERE.glob("*.cpp"))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_reference_philox_known_answers(counter, key, words):
    got = reference.philox4x32_10(counter, key)
    assert " ".join(f"{int(word):08x}" for word in got) == words


def _reference_words(seed, image_id, p, sample, block, domain):
    key = reference.stream_key(seed, image_id, p)
    words = reference.philox4x32_10((block, sample % 2**32, sample >> 32, domain), key)
    return tuple(int(word) for word in words)


def _compiled_words(seed, image_id, p, sample, block, domain):
    return ops._C.stream_words(seed % 2**64, image_id % 2**64, p, sample, block, domain)


def test_stream_words_are_those_of_the_reference():
    draw = random.Random(0)
    for _ in range(2000):
        arguments = (
            draw.choice([*INT64, draw.randrange(-(2**63), 2**63)]),
            draw.choice([*INT64, draw.randrange(-(2**63), 2**63)]),
            draw.choice([1.0, 1.5, 2.0, 3.0, 10.0, np.inf, draw.uniform(1, 20)]),
            draw.choice([0, 1, 2**32 - 1, 2**32, 2**64 - 1, draw.randrange(2**64)]),
            draw.choice([0, 2**32 - 1, draw.randrange(2**32)]),
            draw.choice([0, 1, 2, 2**32 - 1]),
        )
        assert _compiled_words(*arguments) == _reference_words(*arguments), arguments


def test_each_part_of_the_counter_gives_other_words():
    start = (0, 0, 2.0, 0, 0, 0)
    changes = [
        *[(0, seed) for seed in (1, -1, 2**32, -(2**63), 2**63 - 1)],
        *[(1, image) for image in (1, -1, 2**32, -(2**63), 2**63 - 1)],
        *[(2, p) for p in (1.0, np.nextafter(2.0, 3.0), np.inf)],
        *[(3, sample) for sample in (1, 2**32, 2**63)],
        (4, 1),
        (5, 1),
    ]
    seen = {_compiled_words(*start)}
    for place, value in changes:
        arguments = list(start)
        arguments[place] = value
        seen.add(_compiled_words(*arguments))
    assert len(seen) == 1 + len(changes)
