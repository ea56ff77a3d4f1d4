"""What every part of a record is: a value that nobody changes and that has one form as JSON."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class RecordPart(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def as_json(self) -> dict[str, Any]:
        """The JSON value that is hashed."""
        return self.model_dump(mode="json")
