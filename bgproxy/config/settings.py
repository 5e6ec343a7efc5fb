"""What all settings have in common: unknown keys are errors, nothing is guessed, nothing changes later."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: object) -> object:
        """`health:` with every line below it commented out is null in YAML."""
        return {} if value is None else value


def one_of(*names: str) -> ConfigDict:
    """For editors only: `relations` says the same in words."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in names]})
