"""The fused step, reduce_and_resample, on every backend against its reference."""

import math

import pytest
import torch
from op_arguments import INF, NAN, Step, randn, start
from torch import Tensor

from clever_ext.kernels import reference

RTOL = 130 * 2.0**-24  # of norms in float32: see test_norms.py


def sampled(backend, step: Step, number: int) -> Tensor:
    """Sample number `number` of a step's list of jobs, by sample_lp_ball."""
    center, image_id, batch, _ = step.jobs[number // step.batch_samples].tolist()
    point = step.centers[center].to(backend.device)
    out = torch.empty_strided(
        (1, *point.shape), (point.numel(), *point.stride()), dtype=point.dtype
    )
    out = out.to(backend.device)
    first = (batch << 32) + number % step.batch_samples
    radius = step.radii[number // step.batch_samples].item()
    backend.ops.sample_lp_ball(
        out, point, step.p, radius, step.seed, image_id, first, step.low, step.high
    )
    return out[0]


RUNS = [
    ({"p": 2.0, "q": 2.0}, "same"),
    ({"p": 1.0, "q": INF, "dtype": torch.float16}, "same"),
    ({"p": INF, "q": 1.0, "layout": "channels_last", "low": 0.0, "high": 1.0}, "same"),
    ({"p": 3.0, "q": 1.5, "dtype": torch.float64, "batch": 4}, "same"),
    ({"p": 1.5, "q": 3.0, "dtype": torch.bfloat16, "layout": "channels_last"}, "strided"),
    ({"p": 2.0, "q": 2.0, "batch": 7, "batch_samples": 2}, "float64"),
    ({"p": 10.0, "q": 10 / 9, "batch": 20, "shape": (11,)}, "float16"),
    ({"p": 2.0, "q": 2.0, "batch": 1, "batch_samples": 1}, "expanded"),
    ({"p": 2.0, "q": 2.0, "dtype": torch.float16}, "bfloat16"),
    ({"p": INF, "q": 1.0, "shape": (1, 1, 1), "batch": 3}, "same"),
]


def gradients_like(x: Tensor, kind: str, seed: int) -> Tensor:
    """Gradients at the points x, as x is laid out or otherwise; the same on every device."""
    names = ("float64", "float16", "bfloat16")
    dtype = getattr(torch, kind) if kind in names else x.dtype
    grads = randn(x.shape, dtype, seed).to(x.device)
    if kind == "strided":
        return grads.transpose(1, -1).contiguous().transpose(1, -1)
    if kind == "expanded":
        return grads[:, :1].expand(x.shape)
    return torch.empty_like(x, dtype=dtype).copy_(grads)


@pytest.mark.parametrize(("changes", "kind"), RUNS, ids=str)
def test_steps_against_the_reference(backend, changes, kind):
    expected = start(**changes)
    got = expected.copy(backend.device)
    n_samples, batch = len(expected.jobs) * expected.batch_samples, len(expected.x)
    for first in range(0, n_samples + 2 * batch, batch):
        before = got.x.clone()
        if first:
            expected.grads = gradients_like(expected.x, kind, first)
            got.grads = gradients_like(got.x, kind, first)
            # The same norms, to the bit, as by the op that does only that.
            folded = got.maxima.clone()[None]
            backend.ops.grad_norm_max(got.grads[None], [got.q], folded, got.slots.clone()[None])
        reference.reduce_and_resample(*expected.arguments())
        got.run(backend.ops)
        assert torch.equal(got.cursor.cpu(), expected.cursor)
        assert torch.equal(got.slots.cpu(), expected.slots)
        torch.testing.assert_close(got.maxima.cpu(), expected.maxima, rtol=RTOL, atol=0)
        if first:
            assert torch.equal(got.maxima, folded[0])
        for row in range(batch):
            if first + row < n_samples:
                # The reference's samples are compared in test_sampling; these are the same bits.
                assert torch.equal(got.x[row], sampled(backend, got, first + row))
                torch.testing.assert_close(
                    got.x[row].cpu(), expected.x[row], rtol=1e-2, atol=1e-3, check_stride=True
                )
            else:
                assert torch.equal(got.x[row], before[row])
                assert got.slots[row] == -1
    assert (expected.maxima[[2, 3]] == 0).all()
    assert (expected.maxima[[0, 1, 4, 5]] > 0).all()


def test_the_number_of_rows_changes_nothing(backend):
    """Samples and maxima of a run are the same whatever the device batch."""
    results = []
    for batch in (1, 4, 15, 40):
        step = start(batch=batch, shape=(7,)).copy(backend.device)
        seen = {}
        for first in range(0, 15 + batch, batch):
            step.run(backend.ops)
            step.grads = torch.cos(3 * step.x)
            seen |= {first + row: step.x[row].clone() for row in range(min(batch, 15 - first))}
        results.append((step.maxima, torch.stack([seen[number] for number in range(15)])))
    for maxima, samples in results[1:]:
        assert torch.equal(maxima, results[0][0])
        assert torch.equal(samples, results[0][1])


def test_gradients_of_rows_without_a_sample_are_ignored(backend):
    step = start(batch=3).copy(backend.device)
    step.slots[:] = torch.tensor([2, -1, -1])
    step.grads = torch.ones_like(step.x)
    step.grads[1:] = NAN
    step.run(backend.ops)
    assert step.maxima[2].item() == pytest.approx(math.sqrt(105))
    assert (step.maxima[[0, 1, 3, 4, 5]] == 0).all()


def test_a_nan_or_infinite_gradient_is_kept(backend):
    for bad in (NAN, INF, -INF):
        step = start(batch=3).copy(backend.device)
        step.run(backend.ops)
        step.grads = torch.zeros_like(step.x)
        step.grads[1, 2, 4, 6] = bad
        step.run(backend.ops)
        found = step.maxima[4].item()
        assert math.isnan(found) if math.isnan(bad) else found == INF


def test_no_gradients_leave_the_maxima(backend):
    step = start().copy(backend.device)
    step.slots[:] = 2
    step.maxima[:] = 0.5
    step.run(backend.ops)
    assert (step.maxima == 0.5).all()


def test_rows_of_a_larger_buffer(backend):
    """The last batch of a run is a slice of the buffers; what is behind it is left alone."""
    step = start(batch=5).copy(backend.device)
    whole = step.copy(backend.device)
    step.x, step.cursor, step.slots = whole.x[1:3], whole.cursor[1:3], whole.slots[1:3]
    untouched = whole.x[[0, 3, 4]].clone()
    step.run(backend.ops)
    assert torch.equal(whole.x[[0, 3, 4]], untouched)
    assert whole.cursor.tolist() == [0, 3, 4, 3, 4]
    assert whole.slots.tolist() == [-1, 4, 4, -1, -1]
    assert torch.equal(step.x[0], sampled(backend, step, 1))
    gaps = whole.x[:, :, :4]  # rows may lie apart, but not their elements
    step.x, step.centers = gaps[1:3], step.centers[:, :, :4]
    with pytest.raises(RuntimeError, match="must be contiguous or channels_last"):
        step.run(backend.ops)


@pytest.mark.parametrize("change", ["no rows", "no jobs"])
def test_nothing_to_do(backend, change):
    step = start(batch=0 if change == "no rows" else 4).copy(backend.device)
    if change == "no jobs":
        step.jobs, step.radii = step.jobs[:0], step.radii[:0]
    before = step.copy(backend.device)
    for grads in (None, torch.ones_like(step.x)):
        step.grads = grads
        step.run(backend.ops)
    assert torch.equal(step.x, before.x)
    assert torch.equal(step.maxima, before.maxima)
    assert (step.slots == -1).all()
    assert torch.equal(step.cursor, before.cursor + 2 * len(step.x))


def test_points_without_elements(backend):
    step = start(shape=(2, 0)).copy(backend.device)
    step.run(backend.ops)
    step.grads = torch.ones_like(step.x)
    step.run(backend.ops)
    assert (step.maxima == 0).all()
    assert step.cursor.tolist() == [10, 11, 12, 13, 14]
