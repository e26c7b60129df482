"""What a fit has found, in the files of a model folder: tag vectors, a score curve, thresholds.

Thresholds that a fit chose are kept apart from those that somebody gave to labels: the next fit
starts without them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwise.backend import EncoderBackend
from labelwise.calibration import IDENTITY, ScoreCurve
from labelwise.errors import CheckpointError, LabelError
from labelwise.label import thresholds_of
from labelwise.labels import LabelSet
from labelwise.sealed import Manifest
from labelwise.strict_json import dump_json, read_json
from labelwise.tag_params import WITH_NEIGHBOURS
from labelwise.tag_table import TagTable
from labelwise.tensors import Schema, load_tensors, save_tensors

_FIT, _LIMITS = "fit.safetensors", "thresholds.json"
FIT_FILES = frozenset({_FIT, _LIMITS})


def fit_files(label_set: LabelSet, fitted: TagTable) -> dict[str, Any]:
    """Return the files of a fit.

    Args:
        label_set: The labels as they are saved with the model.
        fitted: Their tag vectors; thresholds that these labels lack are the fit's own.
    """
    arrays = {"matrix": fitted.matrix, "bias": fitted.bias, "curve": np.array(fitted.curve)}
    files: dict[str, Any] = {_FIT: lambda target: save_tensors(target, arrays)}
    found = thresholds_of(fitted.label_set)
    limits = {n: x for n, x in found.items() if label_set[n].threshold is None}
    return files | ({_LIMITS: dump_json(limits, _LIMITS)} if limits else {})


def read_fit(manifest: Manifest, label_set: LabelSet, backend: EncoderBackend) -> TagTable | None:
    """Read what ``fit_files`` gave; None where a model has no fit.

    Args:
        manifest: Of the model folder.
        label_set: The labels saved with it.
        backend: The model.

    Raises:
        CheckpointError: The files are damaged, or not of this model and these labels.
    """
    if _FIT not in manifest.files:
        return None
    n_tags = len(label_set.tags(backend.config.scheme))
    schema: Schema = {
        "matrix": ((n_tags, WITH_NEIGHBOURS * backend.dim), np.float32),
        "bias": ((n_tags,), np.float32),
        "curve": ((len(IDENTITY),), np.float64),
    }
    arrays = load_tensors(manifest.file(_FIT), schema)
    curve = ScoreCurve(*arrays["curve"].tolist())
    return TagTable(_limited(manifest, label_set), arrays["matrix"], arrays["bias"], curve)


def _limited(manifest: Manifest, label_set: LabelSet) -> LabelSet:
    if _LIMITS not in manifest.files:
        return label_set
    limits = read_json(manifest.file(_LIMITS))
    try:
        return label_set.limited(limits)
    except (AttributeError, LabelError) as err:
        raise CheckpointError(
            f"'{manifest.folder / _LIMITS}' holds no thresholds: {err}. Expected a number from 0 "
            "to 1 a label. Save the model again with save_pretrained()."
        ) from err
