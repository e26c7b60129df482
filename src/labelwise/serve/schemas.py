"""What goes in and out, as types that check themselves and document the API.

Sizes depend on the server's settings and are checked in ``limits.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from labelwise.errors import LabelError
from labelwise.labels import LabelSet

LABELS_ERROR = "labels"
MAX_UNKNOWN_KEYS = 8  # that are looked at: the message names fewer
_CHUNK = 64  # labels that are checked at once
T = TypeVar("T")
FewErrors = Annotated[list[T], Field(fail_fast=True)]
"""A list whose check ends at its first mistake: a small body has room for a million of them."""
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
LabelSetId = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="Id of a registered label set; 'default' is the model's own.",
        examples=["default"],
    ),
]


class Body(BaseModel):
    """A request body: unknown keys are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_unknown(cls, given: Any) -> Any:
        """Leave out unknown keys beyond a few, each of which would be a mistake of its own."""
        known = cls.model_fields
        if not isinstance(given, dict) or len(given) <= len(known) + MAX_UNKNOWN_KEYS:
            return given
        unknown = islice((key for key in given if key not in known), MAX_UNKNOWN_KEYS)
        return {key: given[key] for key in (*(key for key in known if key in given), *unknown)}


class LabelSpec(Body):
    """What a label reads as."""

    words: str | None = Field(None, description="Words; by default made from the name.")
    description: str | None = Field(None, description="A sentence that says what is meant.")
    threshold: Score | None = Field(None, description="Lowest score of this label.")


def _checked_labels(given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Check labels a few at a time, so that there are few mistakes to collect."""
    if not isinstance(given, (list, dict)):
        return _checked_chunk(given, handler)
    chunks = [_checked_chunk(chunk, handler) for chunk in _chunks(given)]
    if isinstance(given, dict):
        return {name: spec for chunk in chunks for name, spec in chunk.items()}
    return [name for chunk in chunks for name in chunk]


def _chunks(given: list[Any] | dict[str, Any]) -> Iterator[list[Any] | dict[str, Any]]:
    items = list(given)
    for i in range(0, len(items), _CHUNK):
        chunk = items[i : i + _CHUNK]
        yield {name: given[name] for name in chunk} if isinstance(given, dict) else chunk


def _checked_chunk(given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Say of labels in a wrong form what the Python API says, not which types did not match."""
    try:
        return handler(given)
    except ValidationError:
        try:
            LabelSet.parse(given if isinstance(given, (list, dict)) else ["any"])
        except LabelError as err:
            raise PydanticCustomError(LABELS_ERROR, "{said}", {"said": str(err)}) from None
        raise PydanticCustomError(
            "labels_form",
            "Input should be a list of names, or an object of names with null, a description, or "
            "an object that has any of 'words', 'description' and 'threshold'",
        ) from None


Labels = Annotated[
    list[str] | dict[str, str | LabelSpec | None],
    WrapValidator(_checked_labels),
    Field(
        description="Names; or names with descriptions; or names with words, descriptions and "
        "thresholds.",
        examples=[["person", "city"], {"dish": "a meal or part of one"}],
    ),
]


class PredictRequest(Body):
    """Texts, and what to look for in them."""

    texts: FewErrors[str] = Field(examples=[["Ada Lovelace moved to London in 1835."]])
    labels: Labels | None = None
    label_set: LabelSetId | None = None
    threshold: Score | None = Field(None, description="Lowest score of a reported entity.")


class Entity(BaseModel):
    """An entity; offsets count code points of the text, ``end`` is exclusive."""

    text: str
    label: str
    start: int
    end: int
    score: float


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="Machine-readable.", examples=["invalid_request"])
    message: str = Field(description="What was found, what was expected, what to do.")
    request_id: str


class ErrorEnvelope(BaseModel):
    """The answer to everything that fails."""

    error: ErrorDetail


class TextResult(BaseModel):
    """The entities of a text, or why it alone has none."""

    entities: list[Entity]
    error: ErrorDetail | None = Field(None, description="Only where this text failed.")


class PredictResponse(BaseModel):
    """One result a text, in order."""

    results: list[TextResult]
    label_set: str = Field(description="Id of the label set, to be sent in place of the labels.")
    model_version: str


class LabelsRequest(Body):
    """A label set to register."""

    labels: Labels


class LabelInfo(BaseModel):
    """A label as it was understood."""

    words: str
    description: str | None
    threshold: float | None


class LabelSetResponse(BaseModel):
    """A registered label set."""

    id: str
    labels: dict[str, LabelInfo]
    same_words: list[list[str]] = Field(description="Labels that no model can tell apart.")
    remarks: list[str] = Field(
        description="What looks wrong in the examples, which was learned, or is too long in the "
        "labels, of which the beginning is read."
    )


Example = Annotated[
    dict[str, Any],
    Field(
        description="A row as in a file of examples, read by the same reader: 'text' and "
        "'entities' (or 'spans', 'label'), 'tokens' and 'tags' in any scheme, or 'tokenized_text' "
        "and 'ner'. What predict returned can be sent back; other keys are not read.",
        examples=[
            {"text": "Ada left", "entities": [{"start": 0, "end": 3, "label": "person"}]},
            {"tokens": ["Ada", "left"], "tags": ["B-person", "O"]},
            {"tokenized_text": ["Ada", "left"], "ner": [[0, 0, "person"]]},
        ],
    ),
]


class FitRequest(Body):
    """Examples to learn from."""

    examples: FewErrors[Example]
    labels: Labels | None = Field(None, description="By default the labels of the examples.")
    label_set: LabelSetId | None = Field(
        None, description="In place of labels: a registered set; an earlier fit is built upon."
    )


class FitResponse(LabelSetResponse):
    """A fitted label set, and what the fit did."""

    n_examples: int
    n_mentions: int
    strength: float | None = Field(description="Of the prior; null where there was no word to fit.")
    curve: tuple[float, float] = Field(
        description="Slope and shift of the scores' logits that make them probabilities."
    )
    seconds: float
    missing: list[str] = Field(
        description="Labels without a mention: what is not marked counts against them."
    )


class Health(BaseModel):
    """The process answers."""

    status: str = "UP"


class Ready(BaseModel):
    """Whether requests should come here."""

    status: str = Field(examples=["ready"])
    model_version: str | None = None
