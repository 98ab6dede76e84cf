"""Nearest flips in l1 and l-inf by mixed-integer programming (Tjeng et al. 2019), with HiGHS."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array
from torch import Tensor, nn

Floats = npt.NDArray[np.float64]

#: Relative gap at which the solver may stop, and the seconds that it may take.
_GAP, _SECONDS = 1e-4, 120.0


class _Program:
    """Variables and rows of a program, as they are added."""

    def __init__(self) -> None:
        self.low: list[Floats] = []
        self.high: list[Floats] = []
        self.binary: list[Floats] = []
        self.n = 0
        self.parts: list[tuple[npt.NDArray[Any], npt.NDArray[Any], Floats]] = []
        self.row_low: list[Floats] = []
        self.row_high: list[Floats] = []
        self.n_rows = 0

    def variables(self, low: Floats, high: Floats, binary: bool = False) -> npt.NDArray[np.int64]:
        """Add variables between bounds; return their numbers."""
        numbers = np.arange(self.n, self.n + len(low))
        self.n += len(low)
        self.low.append(low)
        self.high.append(high)
        self.binary.append(np.full(len(low), float(binary)))
        return numbers

    def rows(self, low: Floats, high: Floats, *terms: tuple[npt.NDArray[np.int64], Floats]) -> None:
        """Add rows: low <= the sum of terms <= high.

        Args:
            low: [rows].
            high: [rows].
            terms: Variables with a matrix [rows, variables], or with one factor [rows] for each.
        """
        at = np.arange(self.n_rows, self.n_rows + len(low))
        for variables, factors in terms:
            if factors.ndim == 1:
                self.parts.append((at, variables, factors))
            else:
                r, v = np.nonzero(factors)
                self.parts.append((at[r], variables[v], factors[r, v]))
        self.n_rows += len(low)
        self.row_low.append(low)
        self.row_high.append(high)

    def solve(self, costs: Floats) -> tuple[Floats | None, float]:
        """Minimise; return the point, if there is one, and the proven bound of the cost."""
        r, v, f = (np.concatenate(each) for each in zip(*self.parts, strict=True))
        matrix = coo_array((f, (r, v)), shape=(self.n_rows, self.n)).tocsr()
        found = milp(
            costs,
            integrality=np.concatenate(self.binary),
            bounds=Bounds(np.concatenate(self.low), np.concatenate(self.high)),
            constraints=LinearConstraint(
                matrix, np.concatenate(self.row_low), np.concatenate(self.row_high)
            ),
            options={"mip_rel_gap": _GAP, "time_limit": _SECONDS},
        )
        if found.status == 2:  # infeasible
            return None, math.inf
        # Without a ReLU at a kink it is a linear program, solved or not.
        bound = found.mip_dual_bound if any(map(np.any, self.binary)) else found.fun
        return found.x, -math.inf if bound is None else float(bound)


def nearest_by_program(
    model: nn.Sequential, x: Tensor, rows: Tensor, p: float, radius: float,
    enclosed: list[tuple[Tensor, Tensor]],
) -> tuple[Tensor | None, float]:  # fmt: skip
    """Return the nearest point of the box at which a margin is not positive, and a proven bound.

    Args:
        model: Of Linear and ReLU in turn, in float64.
        x: [d], the picture.
        rows: [classes], which take logits to the margin.
        p: 1 or inf.
        radius: Within which the point lies.
        enclosed: Bounds of what goes into each ReLU layer within the radius.

    Returns:
        The point, None where there is none within the radius, and a distance that no such point is
        below.
    """
    program, center = _Program(), x.numpy()
    up = program.variables(np.zeros(len(center)), np.minimum(1 - center, radius))
    down = program.variables(np.zeros(len(center)), np.minimum(center, radius))
    costs = [np.full(2 * len(center), float(p == 1))]
    one = np.ones_like(center)
    if p == math.inf:
        size = program.variables(np.zeros(1), np.full(1, radius))
        everywhere = np.repeat(size, len(center))
        program.rows(-np.inf * one, 0 * one, (up, one), (down, one), (everywhere, -one))
        costs.append(np.ones(1))
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    weight, bias = _numbers(linears[0])
    bias = bias + weight @ center
    terms = [(up, weight), (down, -weight)]
    for (least, most), after in zip(enclosed, linears[1:], strict=True):
        outputs = _relu(program, terms, bias, least.numpy(), most.numpy())
        weight, bias = _numbers(after)
        terms = [(outputs, weight)]
    of_margin = rows.numpy()
    limit = np.array([-of_margin @ bias])
    program.rows(
        np.array([-np.inf]), limit, *((v, (of_margin @ w)[None]) for v, w in terms)
    )  # fmt: skip
    costs.append(np.zeros(program.n - sum(map(len, costs))))
    found, bound = program.solve(np.concatenate(costs))
    if found is None:
        return None, bound
    return torch.from_numpy(np.clip(center + found[up] - found[down], 0, 1)), bound


def _numbers(layer: nn.Linear) -> tuple[Floats, Floats]:
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def _relu(
    program: _Program, terms: list[tuple[npt.NDArray[np.int64], Floats]], bias: Floats,
    least: Floats, most: Floats,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Add a layer; return the variables of its outputs."""
    inputs = program.variables(least, most)
    own = (inputs, np.ones(len(bias)))
    program.rows(bias, bias, own, *((v, -w) for v, w in terms))
    outputs = program.variables(np.zeros(len(bias)), np.maximum(most, 0))
    active = np.nonzero(least >= 0)[0]
    one = np.ones(len(active))
    program.rows(0 * one, 0 * one, (outputs[active], one), (inputs[active], -one))
    kink = np.nonzero((least < 0) & (most > 0))[0]
    one = np.ones(len(kink))
    on = program.variables(0 * one, one, binary=True)
    program.rows(0 * one, np.inf * one, (outputs[kink], one), (inputs[kink], -one))
    program.rows(
        -np.inf * one, -least[kink], (outputs[kink], one), (inputs[kink], -one), (on, -least[kink])
    )
    program.rows(-np.inf * one, 0 * one, (outputs[kink], one), (on, -most[kink]))
    return outputs
