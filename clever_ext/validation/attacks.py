"""Attacks of other libraries, each in search of the nearest flips of all rows of a work.

A library is imported when it is asked for. One that is not there, or cannot be imported, is left
out; what is left out is said.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CleverError, in_short
from ..findings import Finding
from .pair import Floats, Work

#: What each library's attacks are in; all of them are imported before any work is done.
LIBRARIES = {
    "foolbox": ("foolbox",),
    "adv-lib": (
        "adv_lib.attacks.auto_pgd",
        "adv_lib.attacks.fast_adaptive_boundary",
        "adv_lib.attacks.primal_dual_gradient_descent",
    ),
}
_INSTALL = "pip install 'clever_ext[attacks]'"
#: Gradients that APGD takes in a ball, whatever it is asked for.
_OF_BALL = 101
#: Queries of a decision-based attack for each gradient that others get, and of one step of
#: HopSkipJump: forward passes, and its estimate of a normal with the search along it.
_QUERIES, _STEP, _NORMAL = 5, 130, 100

#: From work, norm, gradients and the distances [N] that are known to points [N, *shape].
Run = Callable[[Work, float, int, Floats], Tensor]


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: What it is called.
        library: Whose it is, a key of `LIBRARIES`.
        norms: The norms that it minimises.
        run: What runs it.
        by_gradients: Whether it follows gradients; else it is decision-based: it sees answers.
    """

    name: str
    library: str
    norms: tuple[float, ...]
    run: Run
    by_gradients: bool = True


def foolbox() -> Any:
    """Return Foolbox."""
    return importlib.import_module("foolbox")  # its names are not exported to mypy


def by_foolbox(attack: Any, work: Work, start: Tensor | None = None) -> Tensor:
    """Return the points [N, *shape] of an attack of Foolbox, which may start at others."""
    bounded = foolbox().PyTorchModel(work.pair, (0, 1), device=work.x.device)
    criterion = foolbox().criteria.Misclassification(torch.zeros_like(work.classes))
    more = {} if start is None else {"starting_points": start}
    points: Tensor = attack(bounded, work.x, criterion, epsilons=None, **more)[1]
    return points


def fmn(p: float, gradients: int) -> Any:
    """Return Foolbox's FMN of a norm."""
    zoo = foolbox().attacks
    kinds = {1.0: zoo.L1FMNAttack, 2.0: zoo.L2FMNAttack, math.inf: zoo.LInfFMNAttack}
    attack = kinds[p](steps=gradients)
    if p == 2:
        attack.project = _onto_l2_balls
    return attack


def _onto_l2_balls(x: Any, x0: Any, epsilon: Any) -> Any:
    """Project eagerpy's points [N, *shape] onto balls [N]; Foolbox 3.3.4 leaves them, by a slip."""
    way = (x - x0).raw
    far = way.flatten(1).norm(dim=1).clamp(min=1e-12)
    share = (epsilon.raw / far).clamp(max=1).view(-1, *[1] * (way.dim() - 1))
    return x0 + type(x)(way * share)


def _from_start(attack: Any, work: Work) -> Tensor:
    """Run an attack of Foolbox on the rows that have a start; the others stay where they are."""
    points = work.x.clone()
    if len(work.starts):
        with_start = work.flipped(work.starts[0])
        if with_start.any():
            some = work.some(with_start)
            points[with_start] = by_foolbox(attack, some, some.starts[0])
    return points


def _one_by_one(attack: Any, work: Work) -> Tensor:
    """Do the same row by row: its samples of one row are as many as others have of a hundred."""
    rows = [torch.tensor([n], device=work.x.device) for n in range(len(work.x))]
    return torch.cat([_from_start(attack, work.some(row)) for row in rows])


def _run_fmn(work: Work, p: float, gradients: int, _: Floats) -> Tensor:
    return by_foolbox(fmn(p, gradients), work)


def _run_fmn_from_start(work: Work, p: float, gradients: int, _: Floats) -> Tensor:
    return _from_start(fmn(p, gradients), work)


def _run_ddn(work: Work, _p: float, gradients: int, _: Floats) -> Tensor:
    return by_foolbox(foolbox().attacks.DDNAttack(steps=gradients), work)


def _run_cw(work: Work, _p: float, gradients: int, _: Floats) -> Tensor:
    attack, steps = foolbox().attacks.L2CarliniWagnerAttack, max(1, gradients // 5)
    return by_foolbox(attack(binary_search_steps=5, steps=steps), work)


def _run_ead(work: Work, _p: float, gradients: int, _: Floats) -> Tensor:
    kind, steps = foolbox().attacks.EADAttack, max(1, gradients // 5)
    return by_foolbox(kind(binary_search_steps=5, steps=steps, decision_rule="L1"), work)


def _run_boundary(work: Work, _p: float, gradients: int, _: Floats) -> Tensor:
    return _from_start(foolbox().attacks.BoundaryAttack(steps=_QUERIES * gradients), work)


def _run_hop_skip_jump(work: Work, _p: float, gradients: int, _: Floats) -> Tensor:
    attack = foolbox().attacks.HopSkipJumpAttack(
        steps=max(1, _QUERIES * gradients // _STEP),
        initial_gradient_eval_steps=_NORMAL,
        max_gradient_eval_steps=_NORMAL,
        constraint="linf",
    )
    return _one_by_one(attack, work)


def _run_pdpgd(work: Work, p: float, gradients: int, _: Floats) -> Tensor:
    pdpgd = importlib.import_module("adv_lib.attacks.primal_dual_gradient_descent").pdpgd
    points: Tensor = pdpgd(
        work.pair, work.x, torch.zeros_like(work.classes), p, num_steps=gradients
    )
    return points


def _run_fab(work: Work, p: float, gradients: int, _: Floats) -> Tensor:
    fab = importlib.import_module("adv_lib.attacks.fast_adaptive_boundary").fab
    labels, steps = torch.zeros_like(work.classes), max(1, gradients // 8)  # two gradients each
    points: Tensor = fab(work.pair, work.x.clone(), labels, p, steps, restarts=4)
    return points


def _run_apgd(work: Work, p: float, gradients: int, known: Floats) -> Tensor:
    """APGD in one ball after the other, bisected below the distances that are known."""
    apgd, nearest = importlib.import_module("adv_lib.attacks.auto_pgd").apgd, work.x.clone()
    across = work.x[0].numel() ** (1 / p)
    high = torch.from_numpy(np.where(np.isfinite(known), known, across)).to(work.x.device)
    low = torch.zeros_like(high)
    for _ in range(max(1, gradients // _OF_BALL)):
        radius = (low + high) / 2
        points = apgd(
            work.pair.squashed, work.x, torch.zeros_like(work.classes), radius.float(), p,
            loss_function="ce", best_loss=True,  # else it leaves out rows
        )  # fmt: skip
        found = torch.from_numpy(np.isfinite(work.distances(points, p))).to(work.x.device)
        nearest[found] = points[found]
        low, high = torch.where(found, low, radius), torch.where(found, radius, high)
    return nearest


_ALL = (1.0, 2.0, math.inf)
#: In the order in which they run.
ATTACKS = (
    Attack("FMN", "foolbox", _ALL, _run_fmn),
    Attack("DDN", "foolbox", (2.0,), _run_ddn),
    Attack("CW", "foolbox", (2.0,), _run_cw),
    Attack("EAD", "foolbox", (1.0,), _run_ead),
    Attack("FMN-from-start", "foolbox", _ALL, _run_fmn_from_start),
    Attack("PDPGD", "adv-lib", _ALL, _run_pdpgd),
    Attack("FAB", "adv-lib", _ALL, _run_fab),
    Attack("boundary", "foolbox", (2.0,), _run_boundary, by_gradients=False),
    Attack("hop-skip-jump", "foolbox", (math.inf,), _run_hop_skip_jump, by_gradients=False),
    Attack("APGD", "adv-lib", _ALL, _run_apgd),
)


def distances_of(
    attack: Attack, work: Work, p: float, norms: Sequence[float], gradients: int, known: Floats
) -> dict[float, Floats]:
    """Run an attack, and measure the points that it returns.

    Args:
        attack: Which.
        work: Its rows.
        p: The norm that it minimises.
        norms: Those to measure in: a flip of one norm is one of the others, at its own distance.
        gradients: The most of each row.
        known: [N], distances of flips that are known; infinite where there is none.

    Returns:
        Of each norm [N], infinite where the network does not answer otherwise.
    """
    with torch.inference_mode(False), torch.enable_grad(), _seeded():
        points = attack.run(work.copied(), p, gradients, known)
    return {q: work.distances(points, q) for q in norms}


@contextmanager
def _seeded() -> Iterator[None]:
    """Let random numbers be the same each time, and those of others stay as they were."""
    before = np.random.get_state()  # noqa: NPY002 (Foolbox draws from it)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


@dataclass(frozen=True)
class Chosen:
    """The attacks that are to run.

    Attributes:
        attacks: In the order in which they run.
        versions: Of each of their libraries, in words.
        findings: What is left out, and why.
    """

    attacks: tuple[Attack, ...]
    versions: dict[str, str]
    findings: tuple[Finding, ...]


def choose(names: Sequence[str] | None, norms: Sequence[float]) -> Chosen:
    """Choose attacks that suit some of the norms, of libraries that can be imported.

    Args:
        names: Those that are asked for; None: all.
        norms: What is scored.

    Raises:
        CleverError: there is none of such a name, or none is left.
    """
    asked = ATTACKS if names is None else tuple(map(_named, dict.fromkeys(names)))
    suited = tuple(each for each in asked if set(each.norms) & set(norms))
    if not suited:
        raise CleverError(
            f"no attack of {_listed(asked)} is of the norm {' or '.join(f'{p:g}' for p in norms)}",
            "a norm of 1, 2 or inf, and attacks of it",
            "give another norm, or leave --attacks out",
        )
    versions, findings = {}, []
    for library in dict.fromkeys(each.library for each in suited):
        found = _imported(library)
        if isinstance(found, str):
            versions[library] = found
        else:
            left_out = [each for each in suited if each.library == library]
            said = f"{found.said}: {_listed(left_out)} left out"
            findings.append(Finding("place", said, found.fix))
    kept = tuple(each for each in suited if each.library in versions)
    if not kept or (names is not None and findings):
        raise CleverError(
            f"no attack can run as asked: {'; '.join(each.said for each in findings)}",
            "a library of attacks: Foolbox, or adv-lib beside it",
            _INSTALL if not kept else findings[0].fix,
        )
    return Chosen(kept, versions, tuple(findings))


def _named(name: str) -> Attack:
    names = [each.name for each in ATTACKS]
    if name not in names:
        close = difflib.get_close_matches(name.casefold(), [each.casefold() for each in names], 1)
        meant = [each for each in names if each.casefold() in close]
        raise CleverError(
            f"{name!r} is no attack that is known here",
            ", ".join(names),
            f"write {meant[0]}" if meant else "give some of these, or leave --attacks out",
        )
    return ATTACKS[names.index(name)]


def _listed(attacks: Sequence[Attack]) -> str:
    return ", ".join(each.name for each in attacks)


def _imported(library: str) -> str | Finding:
    """Import a library; return its name and version, or why it cannot be used."""
    module, *_ = modules = LIBRARIES[library]
    # Foolbox's import asks for git otherwise, which nothing here needs.
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    try:
        if importlib.util.find_spec(modules[0].partition(".")[0]) is None:
            fix = _INSTALL if library == "foolbox" else f"pip install {library}"
            return Finding("place", f"{library} is not installed", fix)
        for module in modules:
            importlib.import_module(module)
    except Exception as error:  # whatever the import of another's code raises
        said = f"{library} is installed and cannot be imported ({in_short(error)})"
        return Finding("place", said, f"see what `import {module}` says in Python, and mend that")
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:  # a folder on the path
        return library


def of_norm(p: float) -> list[Attack]:
    """Return all attacks that minimise a norm, in the order in which they run."""
    return [each for each in ATTACKS if p in each.norms]
