"""Models that a callable of an importable module makes: `module.path:factory?width=2&depth=9`."""

from __future__ import annotations

import importlib
import json
import operator
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from torch import nn

from ..errors import CleverError
from .source import DEFAULT_IMAGE_SIZE, Network, Request, similar
from .weights import load_weights


def load(request: Request) -> Network:
    """Make the model of `module.path:factory`, which runs the code of that module."""
    model = made(request.spec)
    if not isinstance(model, nn.Module):
        estimator = hasattr(model, "class_gradient")  # of the Adversarial Robustness Toolbox
        raise CleverError(
            f"{request.spec!r} returned an object of type {type(model).__name__}",
            "a torch.nn.Module",
            f"name it art:{request.spec}" if estimator else "return the model itself",
        )
    findings = load_weights(model, request.weights) if request.weights is not None else []
    size = request.image_size or DEFAULT_IMAGE_SIZE
    return Network(model.eval(), request.spec, size, findings=tuple(findings))


def made(description: str) -> object:
    """Return what a factory makes: `module.path:factory`, with its arguments or without."""
    called, _, query = description.partition("?")
    module_name, _, attribute = called.partition(":")
    _make_current_folder_importable()
    return _call(_find(module_name, attribute), _arguments(query), description)


def _make_current_folder_importable() -> None:
    """Put the current folder first on the path, as `python -m` does.

    It stays there: a model may import other modules of its folder when it is called.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()


def _find(module_name: str, attribute: str) -> object:
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module's own code runs here
        raise CleverError(
            f"the module {module_name!r} cannot be imported ({type(error).__name__}: {error})",
            "`module.path:factory` with a module that is installed or in the current folder",
            f"see that `python -c 'import {module_name}'` works from the current folder",
        ) from error
    try:
        found: object = operator.attrgetter(attribute)(module)
    except AttributeError as error:
        raise CleverError(
            f"the module {module_name!r} has no {attribute!r}",
            "`module.path:factory` with a name that the module defines",
            "correct the name" + similar(attribute, vars(module)),
        ) from error
    return found


def _arguments(query: str) -> dict[str, Any]:
    """Read `width=2&pretrained=true`: numbers, truth values and JSON by their looks, else text."""
    arguments: dict[str, Any] = {}
    for each in filter(None, query.split("&")):
        name, sign, text = each.partition("=")
        if not sign or not name.isidentifier() or name in arguments:
            raise CleverError(
                f"{each!r} is no argument of a factory",
                "name=value, each name once: `module.path:factory?width=2&pretrained=true`",
                "write each argument so, with & between them; in a shell, put quotes around all",
            )
        arguments[name] = _value(unquote(text))
    return arguments


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _call(factory: object, arguments: dict[str, Any], spec: str) -> object:
    if isinstance(factory, nn.Module) or not callable(factory):
        raise CleverError(
            f"{spec!r} is no factory but an object of type {type(factory).__name__}",
            "a function or class that makes the model when called",
            "wrap it: `def factory(): return model`",
        )
    try:
        return factory(**arguments)
    except Exception as error:  # the factory's own code runs here
        raise CleverError(
            f"{spec!r} failed when called ({type(error).__name__}: {error})",
            "a function or class that makes the model when called with these arguments",
            "see the error; give its arguments as in `module.path:factory?width=2`, or give its "
            "arguments defaults",
        ) from error
