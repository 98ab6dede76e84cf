"""What commands say of themselves: defaults, choices, required options, and how wide."""

import argparse
from inspect import signature
from typing import get_args

import pytest
from rich.cells import cell_len

from clever_ext.cli import _parser, main
from clever_ext.cli.completion import commands_of
from clever_ext.cli.images import add_images
from clever_ext.cli.options import (
    CROP_MODES,
    DTYPES,
    ESTIMATORS,
    INTERPOLATIONS,
    MODELS,
    PREPARATIONS,
)
from clever_ext.data.numbering import ORDERS
from clever_ext.data.preprocessing import CropMode, Interpolation
from clever_ext.engine import preparation
from clever_ext.estimators import table
from clever_ext.estimators.bracket.estimator import DEFAULT_GRADIENTS as BRACKET_GRADIENTS
from clever_ext.estimators.steepest.estimator import DEFAULT_GRADIENTS
from clever_ext.estimators.tolerance import PAPER_GRADIENTS
from clever_ext.kernels.balls import FLOATS
from clever_ext.models.loading import BUILT_IN
from clever_ext.scoring import clever_score

COMMANDS = {command.prog.split()[-1]: command for command in commands_of(_parser())}
OPTIONS = [
    pytest.param(command, action, id=f"{name} {(action.option_strings or [action.dest])[-1]}")
    for name, command in COMMANDS.items()
    for action in command._actions
    if not isinstance(action, argparse._HelpAction)
]


@pytest.mark.parametrize(("command", "action"), OPTIONS)
def test_every_option_says_what_it_is_if_it_is_left_out(command, action):
    text = command._get_formatter()._get_help_string(action)
    assert action.help
    if not action.option_strings or action.nargs == 0:  # left out, a flag is simply not there
        assert "default:" not in text
        return
    assert text.count("(required)") == action.required
    assert text.count("(default: ") == (not action.required)
    value = action.default
    if isinstance(value, (list, tuple)):
        value = " ".join(map(str, value))
    if value not in (None, "."):
        assert f"(default: {value})" in text
    assert text[0].islower() or text[0].isdigit()


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_help_fits_and_breaks_no_word(name, capsys, monkeypatch):
    said = {}
    for width in (60, 80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit, match="0"):
            main([*name.split(), "--help"])
        usage, _, said[width] = capsys.readouterr().out.partition("\n\n")
        assert max(map(cell_len, said[width].splitlines())) <= width
        assert len(usage.splitlines()) <= 5
    assert said[60].split() == said[80].split() == said[200].split()


def test_the_first_page_names_all_commands_and_how_to_complete_them(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert list(COMMANDS) == [
        line.split()[0] for line in said.splitlines() if line.startswith("    ") and line[4] != " "
    ]
    assert 'eval "$(register-python-argcomplete clever-ext)"' in said


def test_options_stand_in_groups():
    said = COMMANDS["score"].format_help()
    headings = [line for line in said.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == [
        "options:", "model:", "size and colour of the pictures:", "pictures and labels:", "score:",
        "machine:", "run:", "exit status:",
    ]  # fmt: skip


def test_names_in_the_help_are_those_that_are_known():
    assert tuple(BUILT_IN) == MODELS
    assert set(get_args(CropMode)) == set(CROP_MODES)
    assert set(get_args(Interpolation)) == set(INTERPOLATIONS)
    assert tuple(preparation.OPTIONS) == PREPARATIONS
    assert table.names() == ESTIMATORS
    assert {f"torch.{name}" for name in DTYPES} == set(map(str, FLOATS))
    parser = argparse.ArgumentParser()
    add_images(parser)
    (order,) = (each for each in parser._actions if each.dest == "label_order")
    assert tuple(order.choices) == tuple(ORDERS)
    said = " ".join(COMMANDS["score"].format_help().split())
    assert all(f"{name}:" in order.help for name in ORDERS)
    assert f"{BRACKET_GRADIENTS} for steepest with --radius auto" in said
    assert f"{DEFAULT_GRADIENTS} for steepest, {PAPER_GRADIENTS} for" in said
    arguments = signature(clever_score).parameters
    for option in ("n_batches", "batch_samples"):
        (action,) = (each for each in COMMANDS["score"]._actions if each.dest == option)
        assert f"(default: {arguments[option].default})" in action.help
