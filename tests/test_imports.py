"""Importing is free of side effects and of torch; the public names are what they claim."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import labelwise

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "labelwise"
THIRD_PARTY = {
    "numpy", "onnxruntime", "openvino", "rich", "safetensors", "scipy", "tokenizers", "torch",
    "transformers", "typer",
}  # fmt: skip


def _modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``statement``."""
    code = f"import sys\n{statement}\nsys.stdout.write(' '.join(sys.modules))"
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    return {name.partition(".")[0] for name in output.split()}


def _torch_modules() -> set[str]:
    """Modules that the import contract in pyproject.toml lets know torch."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if "torch" in c.get("forbidden_modules", ()))
    return {allowed.partition(" -> ")[0] for allowed in contract["ignore_imports"]}


def _light_modules() -> list[str]:
    paths = (path.relative_to(SOURCE.parent) for path in SOURCE.rglob("*.py"))
    names = (".".join(p.with_suffix("").parts).removesuffix(".__init__") for p in paths)
    return sorted(set(names) - _torch_modules())


def _names_for_type_checkers() -> set[str]:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    imported = {a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    declared = {ast.unparse(n.target) for n in block.body if isinstance(n, ast.AnnAssign)}
    return imported | declared


def test_import_loads_no_other_library() -> None:
    assert not _modules_after("import labelwise") & THIRD_PARTY


def test_everything_but_the_model_side_imports_without_torch() -> None:
    loaded = _modules_after("import " + ", ".join(_light_modules()))
    assert not loaded & {"torch", "transformers"}


def test_all_equals_the_names_type_checkers_see() -> None:
    assert set(labelwise.__all__) == _names_for_type_checkers()
    assert len(labelwise.__all__) == len(set(labelwise.__all__))


@pytest.mark.parametrize("name", labelwise.__all__)
def test_public_name_is_there(name: str) -> None:
    assert getattr(labelwise, name).__class__ is not None
    assert name in dir(labelwise)


def test_a_star_import_brings_every_name_and_no_torch() -> None:
    loaded = _modules_after("from labelwise import *; Tagger, pretrain, finetune")
    assert not loaded & {"torch", "transformers"}


def test_without_torch_training_has_its_name_and_says_what_to_install() -> None:
    code = """
        import sys
        sys.modules["torch"] = None
        import labelwise
        from labelwise import *
        from labelwise.errors import MissingExtraError
        assert hasattr(labelwise, "pretrain")
        for call in (lambda: pretrain(None, []), lambda: finetune(None, [], None)):
            try:
                call()
            except MissingExtraError as err:
                print(err)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    output = subprocess.check_output(command, text=True)
    assert output.count("needs 'torch', which is not installed. Run: pip install") == 2


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Taggr'"):
        labelwise.Taggr  # noqa: B018
