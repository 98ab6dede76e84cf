"""Logits and gradients of margins: all that scoring needs to know of a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from ..errors import CleverError
from ..kernels import ops
from ..kernels.balls import FLOATS
from ..machine.memory import is_out_of_memory

#: Elements of the seeds that are made together: those of many targets take a few megabytes.
_SEED_ELEMENTS = 2**20


@runtime_checkable
class GradientOracle(Protocol):
    """What can be scored: anything that gives logits and gradients of margins."""

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [B, K] of points x [B, *shape], without a graph."""

    def margin_gradients(self, x: Tensor, classes: Tensor, targets: Tensor) -> Iterator[Tensor]:
        """Yield for each of T targets the gradients [B, *shape] of margins at x [B, *shape].

        The t-th margin of row i is logit classes[i] minus logit targets[i, t]; classes are [B],
        targets [B, T], int64. A yielded gradient is used before the next one is asked for.
        """


class TorchOracle:
    """Logits and margin gradients of a torch module, or of a callable that torch can differentiate.

    One forward pass serves all the targets of a point. Each target takes one backward pass, with
    respect to the input only; or one pass, batched by `torch.vmap`, takes all of them at once,
    which is faster for small networks and holds the gradients of all targets together.

    Where a graph does not serve a second backward pass, as that of a compiled model which gives its
    buffers away, each target gets a forward pass of its own. Parameters get no gradients. The model
    gets a copy of the points, into which it may write.

    Args:
        model: [B, *shape] -> logits [B, K].
        batched_backward: Whether one backward pass takes all the targets.
        one_forward: Whether one forward pass serves all the targets, as far as is known.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        *,
        batched_backward: bool = False,
        one_forward: bool = True,
    ) -> None:
        self.model = model
        self.batched_backward = batched_backward
        self._one_forward = one_forward

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [B, K] of points x [B, *shape], without a graph."""
        with torch.no_grad():
            return self.model(x.clone()).detach()  # which may come with a graph all the same

    def margin_gradients(self, x: Tensor, classes: Tensor, targets: Tensor) -> Iterator[Tensor]:
        """Yield the gradients [B, *shape] of the margins, target after target."""
        return self.margins_and_gradients(x, classes, targets)[1]

    def margins_and_gradients(
        self, x: Tensor, classes: Tensor, targets: Tensor, others: Tensor | None = None
    ) -> tuple[Tensor, Iterator[Tensor]]:
        """Return the margins [B, T + O] and the targets' gradients of one forward pass."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            logits = self.model(leaf.clone())
        n_targets = targets.shape[1]
        n_seeds = n_targets if self.batched_backward else min(n_targets, _seeds_at_once(logits))
        margins, seeds = _margins_and_seeds(logits, classes, _all(targets, others), n_seeds)
        return margins, self._backward(leaf, logits, classes, targets, seeds)

    def _backward(
        self, leaf: Tensor, logits: Tensor, classes: Tensor, targets: Tensor, seeds: Tensor
    ) -> Iterator[Tensor]:
        n_targets = targets.shape[1]
        if self.batched_backward and n_targets > 1:
            (gradients,) = torch.autograd.grad(logits, leaf, seeds, is_grads_batched=True)
            yield from gradients
            return
        for t, seed in enumerate(_all_seeds(seeds, logits.detach(), classes, targets)):
            if t > 0 and not self._one_forward:
                logits = self._again(leaf)
            keep = self._one_forward and t < n_targets - 1
            try:
                (gradient,) = torch.autograd.grad(logits, leaf, seed, retain_graph=keep)
            except Exception as error:  # whatever a model's own backward pass raises
                if n_targets == 1 or not self._one_forward or is_out_of_memory(error):
                    raise
                (gradient,) = torch.autograd.grad(self._again(leaf), leaf, seed)
                self._one_forward = False
            yield gradient

    def _again(self, leaf: Tensor) -> Tensor:
        with torch.enable_grad():
            return self.model(leaf.clone())


class CheckedOracle:
    """An oracle of the user's, whose answers are refused where they are not what they should be.

    It gets a copy of the points, as a model does.

    Raises:
        CleverError: logits are no real numbers [B, K], or gradients not T tensors [B, *shape].
    """

    def __init__(self, oracle: GradientOracle) -> None:
        self.oracle = oracle

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [B, K] of points x [B, *shape], without a graph."""
        logits: Any = self.oracle.logits(x.clone())
        if not _is_real(logits, x) or logits.dim() != 2 or len(logits) != len(x):
            raise CleverError(
                f"the oracle's logits for {len(x)} points on {x.device} are {_kind(logits)}",
                f"a floating point tensor [{len(x)}, K] there",
                "return one row of logits for each point",
            )
        if logits.shape[1] < 2:
            raise CleverError(
                "the oracle has one logit", "at least 2 classes", "give [0, logit] for two classes"
            )
        found: Tensor = logits.detach()
        return found

    def margin_gradients(self, x: Tensor, classes: Tensor, targets: Tensor) -> Iterator[Tensor]:
        """Yield the gradients [B, *shape] of the margins, target after target."""
        return self._checked(self.oracle.margin_gradients(x.clone(), classes, targets), x, targets)

    def margins_and_gradients(
        self, x: Tensor, classes: Tensor, targets: Tensor, others: Tensor | None = None
    ) -> tuple[Tensor, Iterator[Tensor]]:
        """Return the margins [B, T + O] and the targets' gradients, as the oracle has them."""
        if _of_one_forward(self.oracle):
            margins, gradients = margins_and_gradients(self.oracle, x, classes, targets, others)
            return margins, self._checked(gradients, x, targets)
        margins = margins_of(self.logits(x), classes, _all(targets, others))
        return margins, self.margin_gradients(x, classes, targets)

    def _checked(self, given: Any, x: Tensor, targets: Tensor) -> Iterator[Tensor]:
        n_targets, count = targets.shape[1], 0
        if not hasattr(given, "__iter__"):
            raise self._wrong(f"result of margin_gradients is {_kind(given)}", x)
        for gradient in given:
            count += 1
            if count > n_targets:
                break
            if not _is_real(gradient, x) or gradient.shape != x.shape:
                raise self._wrong(f"gradient {count} of {n_targets} is {_kind(gradient)}", x)
            yield gradient.detach()
        if count != n_targets:
            number = f"more than {n_targets}" if count > n_targets else f"{count}"
            raise self._wrong(
                f"margin_gradients gives {number} tensors, and the targets are {n_targets}", x
            )

    @staticmethod
    def _wrong(said: str, x: Tensor) -> CleverError:
        return CleverError(
            f"the oracle's {said}",
            f"one {x.dtype} tensor {list(x.shape)} on {x.device} for each target",
            "yield the gradients of each target's margins at all the points",
        )


def _is_real(value: Any, x: Tensor) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.dtype in FLOATS
        and value.device == x.device
    )


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"of type {type(value).__name__}"
    dense = "" if value.layout == torch.strided else "sparse "
    return f"a {dense}{value.dtype} tensor of shape {list(value.shape)} on {value.device}"


def margins_of(logits: Tensor, classes: Tensor, targets: Tensor) -> Tensor:
    """Return the margins [B, T] of logits [B, K]."""
    return _margins_and_seeds(logits, classes, targets, 0)[0]


def _margins_and_seeds(
    logits: Tensor, classes: Tensor, targets: Tensor, n_seeds: int
) -> tuple[Tensor, Tensor]:
    """Return the margins [B, T] of logits [B, K], and the seeds [n_seeds, B, K] of the first.

    A margin's gradient is that of the logits' product with its seed: one 1 and one -1 in each row,
    and rows do not influence each other.
    """
    logits = logits.detach()
    margins, seeds = logits.new_empty(targets.shape), logits.new_empty(n_seeds, *logits.shape)
    ops.margin_seeds(logits, classes.contiguous(), targets, margins, seeds)
    return margins, seeds


def _seeds_at_once(logits: Tensor) -> int:
    return max(1, _SEED_ELEMENTS // max(1, logits.numel()))


def _all_seeds(seeds: Tensor, logits: Tensor, classes: Tensor, targets: Tensor) -> Iterator[Tensor]:
    """Yield the seed [B, K] of each target: those that there are, then the others."""
    yield from seeds
    n_targets, at_once = targets.shape[1], _seeds_at_once(logits)
    for first in range(len(seeds), n_targets, at_once):
        some = targets[:, first : first + at_once]
        yield from _margins_and_seeds(logits, classes, some, some.shape[1])[1]


def margins_and_gradients(
    oracle: GradientOracle,
    x: Tensor,
    classes: Tensor,
    targets: Tensor,
    others: Tensor | None = None,
) -> tuple[Tensor, Iterator[Tensor]]:
    """Return margins at x and gradients of some, by one forward pass where that can be.

    Args:
        oracle: Makes the passes.
        x: [B, *shape].
        classes: [B] int64.
        targets: [B, T] int64; their margins are differentiated.
        others: [B, O] int64, targets whose margins are wanted alone.

    Returns:
        Margins [B, T + O], and the gradients of the first T.
    """
    if isinstance(oracle, CheckedOracle) or _of_one_forward(oracle):
        return oracle.margins_and_gradients(x, classes, targets, others)
    margins = margins_of(oracle.logits(x), classes, _all(targets, others))
    return margins, oracle.margin_gradients(x, classes, targets)


def _all(targets: Tensor, others: Tensor | None) -> Tensor:
    return targets if others is None else torch.cat([targets, others], dim=1)


def _of_one_forward(oracle: GradientOracle) -> TypeGuard[TorchOracle]:
    """Tell whether an oracle's margins and gradients are of torch, not a subclass's own."""
    own = type(oracle)
    return (
        isinstance(oracle, TorchOracle)
        and own.margin_gradients is TorchOracle.margin_gradients
        and own.logits is TorchOracle.logits
    )


def parts_of(model: Any) -> dict[int, tuple[str, torch.nn.Module]]:
    """Return a module and those inside it, each once, by its `id`: (its name, the module).

    torch's own way needs modules that can be hashed and compared. Of what is no module there is
    none.
    """
    parts: dict[int, tuple[str, torch.nn.Module]] = {}
    waiting = [("", model)]
    while waiting:
        name, part = waiting.pop()
        if isinstance(part, torch.nn.Module) and id(part) not in parts:
            parts[id(part)] = name, part
            inside = [(f"{name}.{key}".lstrip("."), x) for key, x in part._modules.items()]
            waiting += reversed(inside)
    return parts


def tensors_of(model: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a module's parameters and buffers, each by its name."""
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}
    for name, part in parts_of(model).values():
        for into, given in ((parameters, part._parameters), (buffers, part._buffers)):
            into |= {f"{name}.{k}".lstrip("."): x for k, x in given.items() if x is not None}
    return parameters, buffers


def model_placement(model: Any) -> tuple[torch.device | None, torch.dtype | None]:
    """Return the device of a module's weights, and the type that most of them have.

    Buffers count where there are no parameters. Where most weights have a type that nothing is
    computed in, as those of 8 bits, the type of the points is left open. What has no weights has
    neither.
    """
    parameters, buffers = (list(found.values()) for found in tensors_of(model))
    weights = [x for x in parameters if _is_weight(x)] or [x for x in buffers if _is_weight(x)]
    weights += [x for x in buffers if _is_weight(x) and x.dtype not in FLOATS]
    elements: Counter[torch.dtype] = Counter()
    for each in weights:
        elements[each.dtype] += each.numel()
    if not weights:
        return None, None
    dtype = elements.most_common(1)[0][0]
    return weights[0].device, dtype if dtype in FLOATS else None


def _is_weight(x: Tensor) -> bool:
    return x.dtype in FLOATS or (x.dtype.itemsize == 1 and x.dtype is not torch.bool)
