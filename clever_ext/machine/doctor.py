"""What `clever-ext doctor` tells: versions, devices, and whether each kernel is right here."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _C
from ..kernels import ops, reference
from ..version import __version__

#: Norms of the self test: every named one, and one that takes the general way.
_EXPONENTS = (*ops.NAMED_NORMS.values(), 3.0)


@dataclass(frozen=True)
class Check:
    """One kernel against its reference: largest relative difference and what is allowed."""

    name: str
    difference: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the kernel is right; NaN is not."""
        return self.difference <= self.allowed


def describe() -> list[tuple[str, str]]:
    """Return what there is, as (name, value) pairs."""
    built = _C.build_info()
    facts = [
        (
            "clever_ext",
            f"{__version__}, built by {built['compiler']} against torch {built['torch']}",
        ),
        ("torch", f"{torch.__version__}, CUDA {torch.version.cuda or 'no'}"),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("cpu", f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"),
    ]
    if ops.CUDA_MISSING is None:
        facts.append(("CUDA half", f"loaded, built for {built['cuda_architectures']}"))
    else:
        facts.append(("CUDA half", f"not loaded: {ops.CUDA_MISSING}"))
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        facts.append((f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, sm_{major}{minor}"))
    if not torch.cuda.is_available():
        facts.append(("GPU", "none that torch can use"))
    return facts


def devices() -> list[torch.device]:
    """Return the devices that the kernels can run on here."""
    usable = torch.cuda.is_available() and ops.CUDA_MISSING is None
    return [torch.device("cpu")] + ([torch.device("cuda")] if usable else [])


def _difference(ours: Tensor, expected: Tensor) -> float:
    scale = expected.double().abs().max()
    return float((ours.double().cpu() - expected.double().cpu()).abs().max() / scale)


def _sampling(device: torch.device, p: float) -> float:
    center = torch.linspace(0, 1, 3 * 33 * 35, device=device).view(3, 33, 35)
    ours, expected = (torch.full((3, *center.shape), math.nan, device=device) for _ in range(2))
    arguments = (center, p, 0.5, 1, 2, 3, -0.5, 1.5)
    ops.sample_lp_ball(ours, *arguments)
    reference.sample_lp_ball(expected, *arguments)
    return _difference(ours, expected)


def _norms(device: torch.device, q: float) -> float:
    grads = torch.sin(torch.arange(2.0 * 3 * 5000, device=device)).view(2, 3, 5000)
    ours, expected = (torch.zeros(1, 2, dtype=torch.float64, device=device) for _ in range(2))
    ops.grad_norm_max(grads, [q], ours)
    reference.grad_norm_max(grads, [q], expected)
    return _difference(ours, expected)


def _fused(device: torch.device, p: float) -> float:
    """Two steps over three jobs of two images, the end of the list included."""
    centers = torch.linspace(0, 1, 2 * 3 * 8 * 8, device=device).view(2, 3, 8, 8)
    jobs = torch.tensor([[0, 7, 0, 0], [1, 8, 0, 1], [1, 8, 1, 2]], device=device)
    radii = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64, device=device)
    found = []
    for step in (ops.reduce_and_resample, reference.reduce_and_resample):
        x = torch.zeros(4, 3, 8, 8, device=device)
        maxima = torch.zeros(3, dtype=torch.float64, device=device)
        cursor = torch.arange(4, device=device)
        slots = torch.full((4,), -1, device=device)
        for gradient in (None, "x", "x"):
            grads = None if gradient is None else torch.cos(x)
            step(
                grads, x, maxima, cursor, slots, centers, jobs, radii,
                2, p, 2.0, 5, -math.inf, math.inf,
            )  # fmt: skip
        found.append(torch.cat([x.double().flatten(), maxima, cursor.double(), slots.double()]))
    return _difference(*found)


def _moves(device: torch.device, p: float) -> float:
    """A step, noise of both kinds and a projection, alone and together."""
    numbers = torch.arange(2.0 * 2000, device=device).view(2, 2000)
    centers, bases, directions = (torch.sin(numbers + start) for start in (0, 0.1, 1))
    ours, expected = (torch.zeros(4, 2000, device=device) for _ in range(2))
    rows = [[0, 1, 0, 7, 8], [1, -1, 1, 7, 9], [0, -1, 0, 1, 2], [1, 0, 1, 3, 4]]
    unit = float(torch.linalg.vector_norm((bases - centers)[0].double(), p))
    lengths = [[1.0, 0.0, 9.0], [0.0, 1.0, 9.0], [0.0, 0.0, 0.5], [1.0, 1.0, 1.0]]
    scales = torch.zeros(4, 4, dtype=torch.float64, device=device)
    scales[:, :3] = unit * torch.tensor(lengths, dtype=torch.float64)
    scales[3, 3] = 0.25
    arguments = (
        bases, directions, centers, torch.tensor(rows, device=device),
        scales, p, 1.5, 5, -1.0, 1.0,
    )  # fmt: skip
    ops.move_in_lp_ball(ours, *arguments)
    reference.move_in_lp_ball(expected, *arguments)
    return _difference(ours, expected)


def _steps(device: torch.device, p: float) -> float:
    """A step within the box, one that fills all of it, and one of no length, from other points."""
    numbers = torch.arange(6.0 * 2000, device=device).view(6, 2000)
    points, gradients = torch.sin(numbers[:3]), torch.sin(numbers[3:] + 1)
    centers = torch.sin(numbers[:2] + 0.1)
    ours, expected = (torch.zeros(3, 2000, device=device) for _ in range(2))
    scales = [[100.0, 1.0, 1.0], [1e6, 1.02, 0.5], [-100.0, 1.0, 1.0]]
    arguments = (
        points, gradients, centers, torch.tensor([1, 0, 1], device=device),
        torch.tensor(scales, dtype=torch.float64, device=device), p, -1.0, 1.0,
    )  # fmt: skip
    ops.step_to_boundary(ours, *arguments)
    reference.step_to_boundary(expected, *arguments)
    return _difference(ours, expected)


def _distances(device: torch.device, p: float) -> float:
    x = torch.sin(torch.arange(3.0 * 5000, device=device)).view(3, 5000)
    ours, expected = (torch.zeros(2, dtype=torch.float64, device=device) for _ in range(2))
    index = torch.tensor([2, 0], device=device)
    ops.lp_distances(x[:2], x, index, p, ours)
    reference.lp_distances(x[:2], x, index, p, expected)
    return _difference(ours, expected)


def _ends(device: torch.device, p: float) -> float:
    """Looks at five points for each of four rows, flips among them."""
    x = torch.sin(torch.arange(20.0 * 50, dtype=torch.float64, device=device)).view(20, 50)
    row, norm = torch.arange(20, device=device) % 4, x[:, 0].abs()
    looks = (torch.linalg.vector_norm(x, p, dim=1), norm, x[:, 1].contiguous(), row)
    found = []
    for fold in (ops.bracket_ends, reference.bracket_ends):
        upper = 2 * norm[:4] + 50
        ends = (upper.clone(), upper, row[:4].clone(), row[:4].clone())
        fold(*looks, norm[4:8] + 0.5, norm[8:12], *ends)
        found.append(torch.cat(ends))
    return _difference(*found)


def _assigned(device: torch.device, _: float) -> float:
    targets = torch.arange(6, device=device).view(2, 3)
    slots, centers = (torch.tensor(n, device=device) for n in ([3, -1, 0], [1, 0, 0, 1]))
    found = []
    for assign in (ops.assign_targets, reference.assign_targets):
        image, of_class = (torch.zeros_like(slots) for _ in range(2))
        to = torch.zeros(3, 3, dtype=torch.int64, device=device)
        assign(slots, centers, targets[:, 1].contiguous(), targets, image, of_class, to)
        found.append(torch.cat([image, of_class, to.flatten()]))
    return _difference(*found)


def _seeds(device: torch.device, _: float) -> float:
    logits = torch.sin(torch.arange(4.0 * 50, device=device)).view(4, 50)
    classes = torch.arange(4, device=device)
    targets = torch.stack([49 - classes, classes + 9, classes], dim=1)
    found = []
    for seed in (ops.margin_seeds, reference.margin_seeds):
        margins, seeds = torch.zeros(4, 3, device=device), torch.ones(2, 4, 50, device=device)
        seed(logits, classes, targets, margins, seeds)
        found.append(torch.cat([margins.flatten(), seeds.flatten()]))
    return _difference(*found)


def _flips(device: torch.device, p: float) -> float:
    x = torch.sin(torch.arange(5.0 * 5000, device=device)).view(5, 5000)
    margins, slots = x[:, :2].sign(), torch.tensor([0, 3, -1, 1, 2], device=device)
    image = torch.tensor([0, 1, 0, 1, 0], device=device)
    ours, expected = (torch.full((2, 2), 1e4, device=device).double() for _ in range(2))
    ops.note_flips(margins, x, slots, x[1:3], image, p, ours)
    reference.note_flips(margins, x, slots, x[1:3], image, p, expected)
    return _difference(ours, expected)


def self_test() -> Iterator[Check]:
    """Compare each kernel with its reference on each device, for every named norm and one more."""
    kernels: tuple[tuple[str, Callable[[torch.device, float], float]], ...] = (
        ("sample_lp_ball", _sampling),
        ("grad_norm_max", _norms),
        ("reduce_and_resample", _fused),
        ("move_in_lp_ball", _moves),
        ("step_to_boundary", _steps),
        ("lp_distances", _distances),
        ("bracket_ends", _ends),
        ("assign_targets", _assigned),
        ("margin_seeds", _seeds),
        ("note_flips", _flips),
    )
    for device in devices():
        for name, difference in kernels:
            for p in _EXPONENTS:
                # float32 results of a float64 reference: a few units in the last place.
                yield Check(f"{name} {p:g} on {device}", difference(device, p), 2e-6)
