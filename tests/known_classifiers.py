"""Small classifiers whose Lipschitz constants are known."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.optimize import linprog
from torch import nn


def linear(n_inputs: int = 6, n_classes: int = 4, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(n_inputs, n_classes).double().eval()


def relu_network(n_inputs: int, n_hidden: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(n_inputs, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 2))
    return net.double().eval()


class Attending(nn.Module):
    """Attention over the pixels of a picture [3, H, W], and five classes; nobody knows more."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out = nn.Linear(3, 16), nn.Linear(16, 5)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.into(x.flatten(2).transpose(1, 2))
        logits: torch.Tensor = self.out(self.attention(x, x, x, need_weights=False)[0].mean(dim=1))
        return logits


def small_convolution(seed: int = 0) -> nn.Sequential:
    """A smooth network of [3, 6, 6] inputs and 4 classes, whose constants nobody knows."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(144, 4)
    ).eval()


class Quadratic(nn.Module):
    """Two classes with margin b.x + a |x|^2 / 2 + c: its gradient is b + a x."""

    def __init__(self, b: torch.Tensor, a: float, c: float) -> None:
        super().__init__()
        self.register_buffer("b", b)
        self.a, self.c = a, c

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        margin = x @ self.b + self.a * (x * x).sum(dim=1) / 2 + self.c
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


def _inside_ball(p: float, x0: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The l1 or l-inf ball as A x <= b."""
    d = len(x0)
    if p == 1:
        signs = np.array(list(itertools.product([-1, 1], repeat=d)), dtype=float)
        return signs, radius + signs @ x0
    both = np.concatenate([np.eye(d), -np.eye(d)])
    return both, radius + both @ x0


def relu_lipschitz(net: nn.Sequential, x0: np.ndarray, p: float, radius: float) -> float:
    """The exact local Lipschitz constant of logit 0 minus logit 1 in an l1 or l-inf ball.

    Every activation pattern is a polyhedron on which the gradient is constant; a linear program
    says whether the ball meets its interior.
    """
    w = net[0].weight.detach().numpy()
    bias = net[0].bias.detach().numpy()
    v = (net[2].weight[0] - net[2].weight[1]).detach().numpy()
    ball_a, ball_b = _inside_ball(p, x0, radius)
    best = 0.0
    for pattern in itertools.product([0, 1], repeat=len(w)):
        on = np.array(pattern)
        # On: w x + bias >= slack; off: w x + bias <= -slack; the largest slack must be positive.
        sign = np.where(on, -1.0, 1.0)[:, None]
        a = np.block([[sign * w, np.ones((len(w), 1))], [ball_a, np.zeros((len(ball_a), 1))]])
        b = np.concatenate([-sign[:, 0] * bias, ball_b])
        objective = np.zeros(len(x0) + 1)
        objective[-1] = -1
        bounds = [(None, None)] * len(x0) + [(0, 1)]
        found = linprog(objective, A_ub=a, b_ub=b, bounds=bounds)
        if found.status == 0 and -found.fun > 1e-9:
            gradient = (v * on) @ w
            norm = np.abs(gradient).max() if p == 1 else np.abs(gradient).sum()
            best = max(best, float(norm))
    return best
