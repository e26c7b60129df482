"""Command-line flags made from the fields of the settings classes.

Names, types, help and checks exist once, in ``config.py``; here they meet typer and files.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from labelwise.config import ModelConfig, ServeConfig, TrainConfig
from labelwise.documents import read_document
from labelwise.errors import ConfigError, did_you_mean, some_of

AnyConfig = ModelConfig | ServeConfig | TrainConfig
C = TypeVar("C", ModelConfig, ServeConfig, TrainConfig)


def setting_flags(defaults: AnyConfig, panel: str) -> Iterator[inspect.Parameter]:
    """Make one optional flag a field, for the signature of a command.

    Args:
        defaults: Settings of the default preset, shown in the help.
        panel: Heading in the help.

    Yields:
        Keyword parameters, None unless the user gives the flag.
    """
    hints = typing.get_type_hints(type(defaults))
    for f in dataclasses.fields(defaults):
        name, value = f.name.replace("_", "-"), getattr(defaults, f.name)
        option = typer.Option(
            f"--{name}/--no-{name}" if isinstance(value, bool) else f"--{name}",
            help=f.metadata["help"],
            rich_help_panel=panel,
            show_default=_shown(value),
        )
        yield inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[hints[f.name] | None, option],
        )


def _shown(value: Any) -> str | bool:
    if value is None:
        return False
    return str(value) if not isinstance(value, bool) else ("yes" if value else "no")


def read_settings(path: Path | None, sections: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Read a settings file.

    Args:
        path: A TOML or JSON file, or None for no settings.
        sections: The tables it may hold, such as ``("model", "train")``.

    Returns:
        The values of each section, unchecked.

    Raises:
        ConfigError: The file holds anything else.
    """
    document = read_document(path) if path is not None else {}
    if not isinstance(document, dict):
        raise ConfigError(f"'{path}' is a list. Expected the sections {some_of(sections)}.")
    for name, values in document.items():
        if name not in sections or not isinstance(values, dict):
            raise ConfigError(
                f"'{path}' has the key '{name}' at its top. Expected the sections "
                f"{some_of(sections)}.{did_you_mean(name, sections)} Put settings under a section."
            )
    return {section: document.get(section, {}) for section in sections}


def resolve(preset: C, from_file: Mapping[str, Any], flags: Mapping[str, Any]) -> C:
    """Lay a file's settings over a preset, and flags over both.

    Args:
        preset: Where unnamed settings come from.
        from_file: A section of ``read_settings``.
        flags: All flags of a command; those of other classes and those not given are left out.
    """
    names = {f.name for f in dataclasses.fields(preset)}
    given = {k: v for k, v in flags.items() if k in names and v is not None}
    return preset.replace(**(dict(from_file) | given))
