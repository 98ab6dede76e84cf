"""The state of the process that a call finds, and passes that do not depend on it."""

from __future__ import annotations

import copy
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from ..errors import CleverError
from ..findings import Finding
from .oracle import tensors_of


def check_no_transform() -> None:
    """Refuse a call inside a transform of torch.func, which nothing that has values survives.

    Raises:
        CleverError: it is inside one.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise CleverError(
            "the call is inside a transform of torch.func, such as grad or vmap",
            "a call outside of it: a score is a number, and has no derivative",
            "score first, and transform other functions",
        )


def usable(model: Any) -> Any:
    """Return a model that can be differentiated: a copy, where it was made in inference mode.

    Raises:
        CleverError: there is no such copy.
    """
    if not _of_inference(model):
        return model
    made: Any = None
    try:
        with torch.inference_mode(False):
            made = copy.deepcopy(model)
    except Exception as error:  # whatever a model's own code raises
        cause: Exception | None = error
    else:
        cause = None
    if made is None or _of_inference(made):
        raise CleverError(
            "the model's weights were made inside torch.inference_mode(), and it cannot be copied",
            "weights that torch can differentiate through",
            "build or load the model outside of inference mode",
        ) from cause
    return made


def _of_inference(model: Any) -> bool:
    return any(x.is_inference() for tensors in tensors_of(model) for x in tensors.values())


@contextmanager
def undisturbed(device: torch.device) -> Iterator[list[Finding]]:
    """Leave modes of the caller's that would change passes, or make them fail, for a block.

    These are inference mode, grad modes, autocast, and the end that anomaly detection puts to a
    pass whose gradients are NaN, which a score reports.

    Yields:
        What decides a number and was left.
    """
    found = []
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.is_autocast_enabled(device.type):
            dtype = str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
            found.append(
                Finding(
                    "model",
                    f"the call is inside torch.autocast ({dtype}); the scores are those without it",
                    f'leave autocast before the call, or score under it by prepare="{dtype}"',
                )
            )
            stack.enter_context(torch.autocast(device.type, enabled=False))
        if torch.is_anomaly_enabled() and torch.is_anomaly_check_nan_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(True, check_nan=False))
        yield found


@contextmanager
def own_randomness() -> Iterator[None]:
    """Give all random states back as they were."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if _on_gpu() else ()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002


def _on_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def seed_all(number: int) -> None:
    """Seed all random states."""
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    torch.default_generator.manual_seed(number)
    if _on_gpu():
        torch.cuda.manual_seed_all(number)


def weight_versions(model: Any) -> tuple[int, ...]:
    """Return what torch counts up whenever a parameter is written to."""
    parameters, _ = tensors_of(model)  # a buffer may be a place to write to in each pass
    return tuple(x._version for x in parameters.values())


_tf32_lock = threading.Lock()
_tf32_wanted = 0
_tf32_undoing = ExitStack()  # sets again what was before, once nobody wants it any longer


@contextmanager
def process_settings(options: Sequence[str], device: torch.device) -> Iterator[None]:
    """Set what options need of the whole process while the block runs, and nothing else.

    Whether a GPU's products of float32 numbers are taken in TF32 is the user's to set; "tf32" sets
    it for the block.
    """
    with _tf32() if "tf32" in options and device.type == "cuda" else nullcontext():
        # Compiled backward passes may overwrite what the next one over the same graph needs: those
        # of this block's and of models that the user has compiled, for which torch has loaded this.
        if "compile" in options or "torch._functorch.config" in sys.modules:
            from torch._functorch import config

            with config.patch(donated_buffer=False):  # of this thread alone
                yield
        else:
            yield


@contextmanager
def _tf32() -> Iterator[None]:
    """Take products in TF32 while any thread is in the block."""
    global _tf32_wanted
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    with _tf32_lock:
        _tf32_wanted += 1
        if _tf32_wanted == 1:
            _use_tf32(matmul, matmul)
            _use_tf32(cudnn, cudnn.conv, cudnn.rnn)
    try:
        yield
    finally:
        with _tf32_lock:
            _tf32_wanted -= 1
            if _tf32_wanted == 0:
                _tf32_undoing.close()


def _use_tf32(whole: Any, *parts: Any) -> None:
    """Set TF32 for a library, by the older flag where that is in use: the two must agree."""
    if all(part.fp32_precision == "tf32" for part in parts):
        return
    for part in parts:
        _tf32_undoing.callback(setattr, part, "fp32_precision", part.fp32_precision)
    try:
        _tf32_undoing.callback(setattr, whole, "allow_tf32", whole.allow_tf32)
    except RuntimeError:  # the user has set the newer ones
        for part in parts:
            part.fp32_precision = "tf32"
    else:
        whole.allow_tf32 = True


def precision(device: torch.device) -> dict[str, str]:
    """Return how products of float32 numbers are taken where that is not in float32."""
    backends: Any = torch.backends
    if device.type == "cuda":
        found = {"matmul": backends.cuda.matmul, "convolution": backends.cudnn.conv}
    else:
        found = {"matmul": backends.mkldnn.matmul, "convolution": backends.mkldnn.conv}
    short = {name: str(each.fp32_precision) for name, each in found.items()}
    return {name: each for name, each in short.items() if each not in ("none", "ieee")}
