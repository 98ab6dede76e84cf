"""Draws the pictures of docs/concepts/method.md: a ball and its margin, batch maxima and their law.

The classifier is a toy with two inputs, so that all of it can be seen: two classes, a smooth
margin. Its largest gradient norm in the ball is looked up on a fine grid.

python examples/method.py      # seconds; needs the extra [demo]
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

import clever_ext as cx

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
RADIUS = 1.2
N_BATCHES, BATCH_SAMPLES = 200, 8
BLUE, RED = "#084594", "#cb181d"


class Toy(torch.nn.Module):
    """Two classes in the plane, with a curved border between them."""

    def forward(self, x: Tensor) -> Tensor:
        """Map points [B, 2] to logits [B, 2]."""
        u, v = x.unbind(1)
        margin = 1.4 - v + 0.35 * torch.sin(2 * u) - 0.25 * u**2 + 0.15 * u * v
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


def grid(n: int = 400) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Tensor]:
    """Return the axes of a grid around the ball, and its points [n * n, 2]."""
    u = np.linspace(-1.6, 1.6, n)
    v = np.linspace(-1.6, 2.2, n)
    points = torch.tensor(np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2), dtype=torch.float32)
    return u, v, points


def margins(model: torch.nn.Module, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the margin [N] at points [N, 2], and the l2 norm [N] of its gradient."""
    points = points.clone().requires_grad_()
    margin = model(points)[:, 0]
    (gradient,) = torch.autograd.grad(margin.sum(), points)
    return margin.detach(), gradient.norm(dim=1)


def draw_ball(axes: Axes, model: torch.nn.Module, score: float) -> float:
    """Draw margin, ball, samples and score; return the largest gradient norm in the ball."""
    u, v, points = grid()
    margin, norm = margins(model, points)
    inside = points.norm(dim=1) <= RADIUS
    steepest = int(torch.where(inside, norm, 0).argmax())
    field = margin.reshape(len(v), len(u)).numpy()
    axes.contourf(u, v, field, levels=12, cmap="Blues", alpha=0.6)
    axes.contour(u, v, field, levels=[0], colors=RED, linewidths=2)
    samples = cx.sample_lp_ball(torch.zeros(2), 150, p=2, radius=RADIUS)
    axes.plot(*samples.numpy().T, ".", color="black", ms=2)
    axes.add_patch(Circle((0, 0), RADIUS, fill=False, color="black"))
    axes.add_patch(Circle((0, 0), score, fill=False, color=BLUE, lw=2, ls="--"))
    axes.plot(0, 0, "o", color="black", ms=5)
    x, y = points[steepest].tolist()
    axes.plot(x, y, "*", color="black", ms=11)
    axes.annotate("image", (0.08, -0.04))
    axes.annotate("steepest place", (x - 0.95, y - 0.05))
    line = {"arrowstyle": "-", "color": BLUE}
    axes.annotate("ball: radius R", (-0.85, -0.85), (-1.5, -1.45), arrowprops={"arrowstyle": "-"})
    axes.annotate(
        "circle: radius = score", (0.6 * score, -0.8 * score), (0.3, -1.45), color=BLUE,
        arrowprops=line,
    )  # fmt: skip
    axes.annotate("margin 0: the other class begins", (-0.1, 1.95), ha="center", color=RED)
    axes.set(aspect="equal", xticks=[], yticks=[], title="No attack inside the dashed circle")
    return float(norm[steepest])


def draw_maxima(
    axes: Axes, row: Mapping[Hashable, Any], norms: npt.NDArray[np.float64], true: float
) -> None:
    """Draw the norms of the samples, the batch maxima, and the law fitted to them."""
    location, scale, shape = row["lipschitz"], row["scale"], row["shape"]
    edges = np.linspace(norms.min(), max(true, location), 41).tolist()
    axes.hist(norms, edges, density=True, color="lightgray", label="gradient norms of all samples")
    axes.hist(row["maxima"], edges, density=True, color=BLUE, alpha=0.6, label="batch maxima")
    x = np.linspace(edges[0], location, 400)[:-1]
    z = (location - x) / scale
    axes.plot(
        x, shape / scale * z ** (shape - 1) * np.exp(-(z**shape)), color="black", label="fitted law"
    )
    axes.axvline(location, color="black", ls="--", label="its end point: the estimate of L")
    axes.axvline(true, color=RED, ls=":", label="largest norm in the ball (on a grid)")
    axes.set(
        xlabel="gradient norm", yticks=[], title="The end of the law stands for the largest norm"
    )
    axes.legend(fontsize=7, loc="upper left")


def main() -> None:
    """Score the toy and draw both pictures."""
    model, image = Toy().eval(), torch.zeros(1, 2)
    result = cx.clever_score(
        model, image, radius=RADIUS, n_batches=N_BATCHES, batch_samples=BATCH_SAMPLES
    )
    (row,) = result.table.to_dict("records")
    figure = Figure(figsize=(4.6, 4.8), layout="constrained")
    true = draw_ball(figure.subplots(), model, row["score"])
    figure.savefig(IMAGES / "ball.png", dpi=110)
    samples = cx.sample_lp_ball(torch.zeros(2), N_BATCHES * BATCH_SAMPLES, p=2, radius=RADIUS)
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    draw_maxima(figure.subplots(), row, margins(model, samples)[1].double().numpy(), true)
    figure.savefig(IMAGES / "maxima.png", dpi=110)
    print(f"location {row['lipschitz']:.3g}, largest norm on the grid {true:.3g}")


if __name__ == "__main__":
    main()
