"""What mypy tells users of a call of ours: a word misspelt is found, a call that works is not."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from clever_ext.engine.preparation import OPTIONS, Option, PrepareWord, check_options
from clever_ext.estimators.table import names
from clever_ext.inputs.settings import EstimatorName
from clever_ext.inputs.targets import TargetWord, resolve_targets
from clever_ext.kernels.balls import NormName, check_norm
from clever_ext.kernels.ops import NAMED_NORMS

CODE = Path(__file__).with_name("typed_code.py")


def test_mypy_finds_what_is_misspelt_in_a_users_code_and_nothing_else():
    """A `type: ignore` that hides nothing is an error to a strict mypy."""
    api = pytest.importorskip("mypy.api")
    root = CODE.parents[1]
    said, failed, _ = api.run(["--config-file", str(root / "pyproject.toml"), str(CODE)])
    assert said.startswith("Success"), said + failed


def test_words_of_types_are_those_of_the_checks():
    assert set(names()) == set(get_args(EstimatorName))
    assert tuple(OPTIONS) == get_args(Option)
    assert {check_norm(name) for name in get_args(NormName)} == set(NAMED_NORMS.values())
    assert set(NAMED_NORMS) <= set(get_args(NormName))
    logits = np.random.default_rng(0).normal(size=(2, 200))
    for word in get_args(TargetWord):
        assert len(resolve_targets(word, logits, 0, np.arange(2))) == 2
    for word in get_args(PrepareWord):
        assert check_options(word) == ((word,) if word in OPTIONS else (), word == "auto")
