"""The base of every record."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of everything in run.json: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
