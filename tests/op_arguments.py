"""Arguments of the ops as the tests give them: some that are right, to be changed one by one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from clever_ext.kernels import reference

INF, NAN = math.inf, math.nan
#: Of the balls that samples are drawn from.
NORMS = [1.0, 1.5, 2.0, 3.0, 10.0, INF]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
LONG = torch.int64

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def few(backend, many: int, emulated: int) -> int:
    """How many cases: the emulator runs 512 threads, one after another, for each row."""
    return emulated if backend.name == "emulated" else many


def randn(shape: Sequence[int], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def laid_out(x: Tensor, layout: str) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else x


def random(shape, dtype=torch.float32, layout="contiguous", seed=0) -> Tensor:
    """Numbers within [-1, 1]."""
    out = 2 * torch.rand(tuple(shape), generator=torch.Generator().manual_seed(seed)) - 1
    return laid_out(out.to(dtype), layout)


def points(
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
    layout: str = "contiguous",
    seed: int = 0,
) -> Tensor:
    """Numbers within [0, 1]."""
    out = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return laid_out(out.to(dtype), layout)


class _Arguments:
    def arguments(self) -> list:
        """The fields, in order."""
        return [getattr(self, field.name) for field in fields(self)]

    def copied(self, device) -> list:
        """The same with the tensors copied to a device, strides kept."""
        return [a.to(device, copy=True) if isinstance(a, Tensor) else a for a in self.arguments()]


class _WritesOut(_Arguments):
    """Arguments of an op of which only the first, `out`, is written."""

    OP: ClassVar[str]
    out: Tensor

    def run(self, backend) -> Tensor:
        """Run on a backend's device, strides kept; `out` as it is afterwards."""
        on_device = self.copied(backend.device)
        getattr(backend.ops, self.OP)(*on_device)
        for after, before in zip(on_device[1:], self.arguments()[1:], strict=True):
            if isinstance(after, Tensor):
                torch.testing.assert_close(after.cpu(), before, rtol=0, atol=0, equal_nan=True)
        return on_device[0].cpu()

    def expected(self) -> Tensor:
        out = self.out.clone()
        getattr(reference, self.OP)(out, *self.arguments()[1:])
        return out


class WritesLast(_Arguments):
    """Arguments of an op of which only the last ones, `WRITTEN` of them, are written."""

    OP: ClassVar[str]
    WRITTEN: ClassVar[int]

    def run(self, backend) -> list[Tensor]:
        """Run on a backend's device, strides kept; what is written, as it is afterwards."""
        on_device = self.copied(backend.device)
        getattr(backend.ops, self.OP)(*on_device)
        read = list(zip(on_device, self.arguments(), strict=True))[: -self.WRITTEN]
        for after, before in read:
            if isinstance(after, Tensor):
                torch.testing.assert_close(after.cpu(), before, rtol=0, atol=0, equal_nan=True)
        return [tensor.cpu() for tensor in on_device[-self.WRITTEN :]]

    def expected(self) -> list[Tensor]:
        copies = self.copied("cpu")
        getattr(reference, self.OP)(*copies)
        return copies[-self.WRITTEN :]

    def named(self) -> dict:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass
class Step(_Arguments):
    """The arguments of reduce_and_resample, in order."""

    grads: Tensor | None
    x: Tensor
    maxima: Tensor
    cursor: Tensor
    slots: Tensor
    centers: Tensor
    jobs: Tensor
    radii: Tensor
    batch_samples: int
    p: float = 2.0
    q: float = 2.0
    seed: int = 5
    low: float = -INF
    high: float = INF

    def run(self, namespace) -> None:
        namespace.reduce_and_resample(*self.arguments())

    def copy(self, device) -> Step:
        return Step(*self.copied(device))


def start(
    batch: int = 5,
    shape: Sequence[int] = (3, 5, 7),
    dtype: torch.dtype = torch.float32,
    layout: str = "contiguous",
    batch_samples: int = 3,
    **changes,
) -> Step:
    """A run over jobs that mix centers, image ids, batches, slots and radii; x holds none yet."""
    jobs = [[1, 70, 0, 4], [0, -8, 3, 1], [1, 70, 1, 0], [2, 2**62, 2**31 - 1, 5], [0, -8, 4, 1]]
    return Step(
        grads=None,
        x=points((batch, *shape), dtype, layout, 1),
        maxima=torch.zeros(6, dtype=torch.float64),
        cursor=torch.arange(batch),
        slots=torch.full((batch,), -1),
        centers=points((3, *shape), dtype, layout, 2),
        jobs=torch.tensor(jobs),
        radii=torch.tensor([0.5, 2.0, 0.25, 1e-3, 7.0], dtype=torch.float64),
        batch_samples=batch_samples,
        **changes,
    )


@dataclass
class Move(_WritesOut):
    """The arguments of move_in_lp_ball, in order."""

    OP = "move_in_lp_ball"

    out: Tensor
    bases: Tensor
    directions: Tensor | None
    centers: Tensor
    rows: Tensor
    scales: Tensor
    p: float = 2.0
    sharpness: float = 1.0
    seed: int = 5
    low: float = -INF
    high: float = INF


def moves(
    rows,
    scales,
    shape=(3, 5, 7),
    dtype=torch.float32,
    layout="contiguous",
    directions_dtype=None,
    size=0.05,
    **changes,
) -> Move:
    """Moves of four points near three centers, along three gradients."""
    made = {
        "out": torch.full_like(random((len(rows), *shape), dtype, layout), 7.0),
        "centers": random((3, *shape), dtype, layout, 2),
        "directions": random((3, *shape), directions_dtype or dtype, layout, 3),
        "rows": torch.tensor(rows, dtype=LONG).view(-1, 5),
        "scales": torch.tensor(scales, dtype=torch.float64).view(-1, 4),
    }
    near = made["centers"][[0, 1, 2, 0]].float() + size * random((4, *shape), seed=4)
    made["bases"] = torch.empty_like(random((4, *shape), dtype, layout)).copy_(near)
    return Move(**{**made, **changes})


ROWS = [[0, 1, 0, 70, 4], [2, -1, 2, -8, 2**32 + 3], [-1, 9, 9, 9, 9], [3, 0, 0, 2**62, 2**63 - 1],
        [1, 2, 1, 70, 2**32 - 1], [1, 0, 1, 1, 1], [3, 2, 0, 1, 2]]  # fmt: skip


@dataclass
class BoundaryStep(_WritesOut):
    """The arguments of step_to_boundary, in order."""

    OP = "step_to_boundary"

    out: Tensor
    points: Tensor
    gradients: Tensor
    centers: Tensor
    index: Tensor
    scales: Tensor
    p: float = 2.0
    low: float = -INF
    high: float = INF


LANES = [2, 0, -1, 1, 0, 2, 1]


def boundary_steps(
    shape=(3, 5, 7),
    dtype=torch.float32,
    layout="contiguous",
    gradients_dtype=None,
    size=1.0,
    falls=(0.01, 0.1, 9.0, 0.4, -0.1, 0.9, 1e9),
    **changes,
) -> BoundaryStep:
    """Steps from seven points near three centers, whose margins fall by shares of the room's."""
    lanes = len(LANES)
    centers = random((3, *shape), dtype, layout, 2)
    near = centers[LANES].float() + 0.05 * random((lanes, *shape), seed=4)
    gradients = random((lanes, *shape), torch.float64, layout, 3) * size
    gradients = laid_out(gradients.to(gradients_dtype or dtype), layout)
    made = {
        "points": torch.empty_like(random((lanes, *shape), dtype, layout)).copy_(near),
        "gradients": gradients,
        "centers": centers,
        "index": torch.tensor(LANES),
    }
    made["out"] = torch.full_like(made["points"], 7.0)
    slope = (gradients.double() * (made["points"].double() - centers[LANES].double())).flatten(1)
    reach = gradients.double().abs().flatten(1).sum(1)
    beyond = torch.tensor([1.0, 1.0, 1.0, 1.02, 1.0, 2.0, 1.0]).double()
    share = torch.tensor([1.0, 0.5, 1.0, 1.0, 0.9, 1.0, 0.0]).double()
    margin = torch.tensor(falls).double() * reach / beyond + slope.sum(1)
    made["scales"] = torch.stack([margin, beyond, share], dim=1)
    return BoundaryStep(**{**made, **changes})


@dataclass
class Ends(WritesLast):
    """The arguments of bracket_ends, in order."""

    OP, WRITTEN = "bracket_ends", 4

    distance: Tensor
    norm: Tensor
    margin: Tensor
    row: Tensor
    margin_at_image: Tensor
    rise: Tensor
    lower: Tensor
    upper: Tensor
    nearest: Tensor
    steepest: Tensor

    def looks(self, which: Tensor) -> Ends:
        """Some of the looks, in that order."""
        return Ends(*(tensor[which] for tensor in self.arguments()[:4]), *self.arguments()[4:])


def ends(looks: int, rows: int, seed: int = 0, steps: int | None = None) -> Ends:
    """Looks at points of rows; one in three a flip. With `steps`, few different numbers."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(n: int) -> Tensor:
        out = torch.rand(n, generator=generator, dtype=torch.float64)
        return out if steps is None else (out * steps).floor() / steps

    return Ends(
        distance=2 * numbers(looks),
        norm=torch.where(numbers(looks) < 0.3, 0.0, 3 * numbers(looks)),
        margin=1.5 * numbers(looks) - 0.5,
        row=torch.randint(0, max(1, rows), (looks,), generator=generator),
        margin_at_image=numbers(rows) + 0.25,
        rise=0.2 * numbers(rows),
        lower=torch.where(numbers(rows) < 0.5, INF, numbers(rows)),
        upper=torch.where(numbers(rows) < 0.5, INF, numbers(rows)),
        nearest=torch.full((rows,), 77),
        steepest=torch.full((rows,), 77),
    )


def refuses(backend, op: str, arguments: dict, message: str) -> None:
    """Check that bad arguments are refused with this message, and that nothing is written."""
    values = []
    for value in arguments.values():
        if isinstance(value, Tensor):  # moved with its strides, which may be what is wrong
            moved = torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device=backend.device
            )
            value = moved.copy_(value)
        values.append(value)
    before = [value.clone() for value in values if isinstance(value, Tensor)]
    with pytest.raises(RuntimeError, match=re.escape(f"{op}: {message}")):
        getattr(backend.ops, op)(*values)
    after = [value for value in values if isinstance(value, Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
