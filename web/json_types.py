"""The types of JSON fields that several models share."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared.errors import MESSAGE_ERRORS
from shared.parts import PartKind
from shared.text import normalise


def _storable(value: Any) -> Any:
    """Normalise before pydantic validates: it refuses lone surrogates, which JSON may hold."""
    return normalise(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_storable)]
Role = Literal["user", "assistant"]

# Names to which a later version may add: clients must expect others.
Kind = Annotated[str, Field(json_schema_extra={"x-extensible-enum": [*PartKind]})]
AnswerErrorCode = Annotated[str, Field(json_schema_extra={"x-extensible-enum": [*MESSAGE_ERRORS]})]

Held = Annotated[
    str, Field(json_schema_extra={"x-extensible-enum": ["stopped", "failed", "refused"]})
]


class RequestBody(BaseModel):
    """A request body: unknown fields are refused, nothing is coerced, all text can be stored."""

    model_config = ConfigDict(extra="forbid", strict=True)
