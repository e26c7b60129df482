"""The conventions of docs/development.md that a linter does not know."""

from __future__ import annotations

import ast
import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from labelwise.config import PRESETS, RECOMMENDED_MODEL
from labelwise.sentences import WRAPPED

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "labelwise"
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 350

Function = ast.FunctionDef | ast.AsyncFunctionDef
_ARRAY = re.compile(r"\b(ndarray|NDArray|Tensor|[A-Z]\w*Array)\b")
_BY_NAME = re.compile(r"\b(dict|Mapping)\[str, \w+(\[\w+\])?\]")  # weights: one shape each
_SHAPE = re.compile(r"\bShapes? ``\(")
_RELEASED = re.compile(r"^## \[(\d[^\]]*)\]", re.MULTILINE)

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _public(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Public functions and classes of a module, and public methods of those classes."""
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if "overload" not in map(ast.unparse, node.decorator_list):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body)


def _mentions_array(function: Function) -> bool:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    annotations = [a for a in (function.returns, *(a.annotation for a in every)) if a]
    return any(_ARRAY.search(_BY_NAME.sub("", ast.unparse(a))) for a in annotations)


def _defined_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


@each_module
def test_modules_stay_short(path: Path) -> None:
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_MODULE_LINES, f"{path.name} has {n_lines} lines. Split it by reason."


@each_module
def test_functions_stay_short(path: Path) -> None:
    long = [
        f"{path.name}:{f.lineno} {f.name}"
        for f in _functions(_tree(path))
        if (f.end_lineno or 0) - f.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long, f"Longer than {MAX_FUNCTION_LINES} lines: {long}"


@each_module
def test_only_apps_print(path: Path) -> None:
    prints = [
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert not prints or "apps" in path.relative_to(SOURCE).parts, f"{path.name}: lines {prints}"


@each_module
def test_source_raises_instead_of_asserting(path: Path) -> None:
    asserts = [node.lineno for node in ast.walk(_tree(path)) if isinstance(node, ast.Assert)]
    assert not asserts, f"{path.name}: lines {asserts}"


@each_module
def test_public_names_have_docstrings(path: Path) -> None:
    tree = _tree(path)
    bare = [f"{path.name}:{n.lineno} {n.name}" for n in _public(tree.body) if not _has_doc(n)]
    assert _has_doc(tree), f"{path.name} has no docstring"
    assert not bare, f"Without a docstring: {bare}"


def _has_doc(node: ast.Module | ast.ClassDef | Function) -> bool:
    return bool(ast.get_docstring(node))


@each_module
def test_arrays_have_shapes(path: Path) -> None:
    missing = [
        f"{path.name}:{node.lineno} {node.name}"
        for node in _public(_tree(path).body)
        if isinstance(node, Function)
        and _mentions_array(node)
        and not _SHAPE.search(ast.get_docstring(node) or "")
    ]
    assert not missing, f"Arrays without 'Shape ``(axes)``' (a scalar is ``()``): {missing}"


@each_module
def test_only_baselines_have_heads(path: Path) -> None:
    heads = [
        f"{path.name}:{line} {name}"
        for name, line in _defined_names(_tree(path))
        if "head" in name.lower().split("_")
    ]
    assert not heads or "baselines" in path.relative_to(SOURCE).parts, f"Say 'scorer': {heads}"


def test_version_is_the_newest_released_one_or_the_first_to_come() -> None:
    """Between releases the version stays that of the last one; new entries are Unreleased."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    released = _RELEASED.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert project["version"] == (released[0] if released else "0.1.0")


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("method.md", f"up to {PRESETS['pretrain'].max_labels} a batch"),
        ("guide.md", f"reads the first {RECOMMENDED_MODEL.max_label_pieces} pieces"),
        ("guide.md", f"the line has {WRAPPED} characters"),
    ],
)
def test_figures_of_the_docs_are_those_of_the_code(page: str, says: str) -> None:
    text = " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
    assert says in text


def test_constraints_pin_exact_public_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9a-z.]+", pin) for pin in pins)
    assert pins == sorted(set(pins))


def test_tests_cannot_leave_this_machine() -> None:
    with pytest.raises(AssertionError, match=r"tried to reach 'example\.org'"):
        socket.create_connection(("example.org", 80))
    with socket.socket() as outside, pytest.raises(AssertionError, match=r"'192\.0\.2\.1'"):
        outside.connect(("192.0.2.1", 80))


def test_tests_can_use_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
