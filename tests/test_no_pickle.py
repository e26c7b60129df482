"""No source file may read or write a format that can run code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
CALLS = {"eval", "exec", "compile", "torch.load", "torch.save", "yaml.load", "yaml.unsafe_load"}
IMPORTERS = {"__import__", "import_module", "require"}


def violations(source: str) -> list[str]:
    """Name what is banned in a module, in order."""
    tree = ast.parse(source)
    names = {alias: origin for node in ast.walk(tree) for alias, origin in imported(node)}
    found = [origin for origin in names.values() if origin.split(".")[0] in MODULES]
    found += [origin for origin in names.values() if origin in CALLS]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += banned_call(node, names)
    return found


def imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name.split(".")[0], alias.name
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def banned_call(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    name = dotted(call.func, names)
    if name in CALLS:
        yield name
    for keyword in call.keywords:
        is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg == "allow_pickle" and not is_false:
            yield f"{name}(allow_pickle)"
    if name.split(".")[-1] in IMPORTERS and call.args:
        module = ast.unparse(call.args[0]).strip("'")
        if module.split(".")[0] in MODULES:
            yield f"{name}({module})"


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: path.name)
def test_source_has_no_way_to_run_code_from_a_file(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as harmless",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "def f():\n    import dill",
        "import torch\ntorch.load('x', weights_only=True)",
        "import torch as t\nt.load('x')",
        "from torch import load as read",
        "import torch\ntorch.save({}, 'x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "eval('1')",
        "exec('1')",
        "import yaml\nyaml.load('x')",
        "__import__('pickle')",
        "import importlib\nimportlib.import_module('shelve')",
        "require('marshal', 'x', 'y')",
    ],
)
def test_every_banned_way_is_found(source: str) -> None:
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "import re\nre.compile('x')",
        "import json\njson.load(file)",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import yaml\nyaml.safe_load('x')",
        "'import pickle'",
    ],
)
def test_innocent_code_passes(source: str) -> None:
    assert violations(source) == []
