import threading

import numpy as np
import pytest

from clever_ext.engine.maxima import Drawn
from clever_ext.estimators.background_fits import BackgroundFits
from clever_ext.evt.reverse_weibull import fit_reverse_weibull


def maxima(seed: int, n_targets: int = 3, n_batches: int = 20) -> np.ndarray:
    return 5 - np.random.default_rng(seed).weibull(4.0, size=(n_targets, n_batches))


def drawn(seed: int, n_targets: int = 3) -> Drawn:
    found = maxima(seed, n_targets)
    return Drawn(found, found[:, 0])


@pytest.mark.parametrize("n_images", [0, 1, 21, 22, 50])
def test_fits_are_those_of_all_rows_together(n_images):
    with BackgroundFits(3, 20) as fits:
        for image in range(n_images):
            fits.add((1, image), lambda image=image: drawn(image))
        keys, rows, nearest, fit = fits.finish()
    assert keys == [(1, image) for image in range(n_images)]
    expected = np.concatenate([np.empty((0, 20)), *(maxima(image) for image in range(n_images))])
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(nearest, expected[:, 0])
    together = fit_reverse_weibull(expected)
    for name in ("location", "shape", "p_value", "ci_high", "status"):
        np.testing.assert_array_equal(getattr(fit, name), getattr(together, name))


def test_the_caller_does_not_wait_for_maxima_or_fits():
    arrived = threading.Event()
    callers = []

    def late():
        arrived.wait()
        callers.append(threading.current_thread().name)
        return drawn(0)

    with BackgroundFits(3, 20) as fits:
        for image in range(100):
            fits.add((0, image), late)
        arrived.set()
        assert len(fits.finish().maxima) == 300
    assert all(name.startswith("clever-fit") for name in callers)


def test_an_error_of_the_maxima_is_not_lost():
    def broken():
        raise RuntimeError("device-side assert")

    with BackgroundFits(3, 20) as fits:
        fits.add((0, 0), broken)
        with pytest.raises(RuntimeError, match="device-side"):
            fits.finish()


def test_the_thread_ends_with_the_block():
    def interrupted():
        with BackgroundFits(1, 20) as fits:
            for image in range(100):
                fits.add((0, image), lambda: drawn(0, 1))
            raise KeyError

    before = threading.active_count()
    with pytest.raises(KeyError):
        interrupted()
    assert threading.active_count() == before
