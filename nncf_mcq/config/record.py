"""Base of what is read from the files of an output folder."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of the documents and their parts; values do not change."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def __getitem__(self, key: str) -> Any:
        """A value by its key in the JSON."""
        try:
            return getattr(self, key)
        except AttributeError as error:
            raise KeyError(key) from error

    def to_dict(self) -> dict[str, Any]:
        """JSON values; without what was left out."""
        return self.model_dump(exclude_unset=True)
