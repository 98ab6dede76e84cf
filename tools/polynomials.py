"""Finds the polynomials of csrc/math/transforms.h: relative-error fits on Chebyshev nodes.

Run `python tools/polynomials.py`: prints the coefficients, lowest power first, and the largest
relative error of each in exact arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


def fit(target: Function, low: float, high: float, degree: int, weight: Function) -> np.ndarray:
    """Least squares on Chebyshev nodes, reweighted towards the smallest largest error."""
    nodes = np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)
    x = (low + high) / 2 + (high - low) / 2 * nodes
    basis = np.vander(x, degree + 1, increasing=True)
    importance = np.ones_like(x)
    for _ in range(200):
        rows = weight(x) * np.sqrt(importance)
        coefficients, *_ = np.linalg.lstsq(basis * rows[:, None], target(x) * rows, rcond=None)
        error = np.abs((basis @ coefficients - target(x)) * weight(x))
        importance *= (error + 1e-300) / error.max() + 0.05
        importance /= importance.mean()
    return np.append(coefficients, error.max())


def main() -> None:
    """Print all the polynomials."""
    quarter = np.pi / 4

    def logarithm(f: np.ndarray) -> np.ndarray:
        return np.where(
            np.abs(f) < 1e-3,
            1 / 3 - f / 4 + f**2 / 5 - f**3 / 6,
            (np.log1p(f) - f + f * f / 2) / np.where(f == 0, 1, f**3),
        )

    tasks: dict[str, tuple[Function, float, float, int, Function]] = {
        "log(1 + f) = f - f^2 / 2 + f^3 P(f)": (
            logarithm,
            np.sqrt(0.5) - 1,
            np.sqrt(2) - 1,
            7,
            lambda f: np.abs(f**3 / np.log1p(f)),
        ),
        "sin(x) = x + x^3 P(x^2)": (
            lambda z: (np.sin(np.sqrt(z)) - np.sqrt(z)) / z**1.5,
            1e-4,
            quarter**2,
            2,
            lambda z: z**1.5 / np.sin(np.sqrt(z)),
        ),
        "cos(x) = 1 - x^2 / 2 + x^4 P(x^2)": (
            lambda z: (np.cos(np.sqrt(z)) - 1 + z / 2) / z**2,
            1e-3,
            quarter**2,
            2,
            lambda z: z**2,
        ),
        "exp(x) = 1 + x + x^2 P(x)": (
            lambda x: np.where(
                np.abs(x) < 1e-3,
                0.5 + x / 6 + x * x / 24,
                (np.expm1(x) - x) / np.where(x == 0, 1, x * x),
            ),
            -np.log(2) / 2,
            np.log(2) / 2,
            4,
            lambda x: x * x,
        ),
    }
    for name, arguments in tasks.items():
        *coefficients, error = fit(*arguments)
        print(name, f"(relative error {error:.1e})")
        print("   ", ", ".join(f"{np.float32(c):.9e}f" for c in coefficients))


if __name__ == "__main__":
    main()
