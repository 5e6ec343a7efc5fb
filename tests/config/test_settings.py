from __future__ import annotations

import pytest
from pydantic import ValidationError

from bgproxy.config import schema
from bgproxy.config.settings import Settings


def test_settings_are_frozen_and_do_not_show_what_was_wrong_with_them() -> None:
    classes = Settings.__subclasses__()
    assert schema.File in classes
    assert all(settings.model_config.get("frozen") for settings in classes)
    assert all(settings.model_config.get("hide_input_in_errors") for settings in classes)


def test_a_key_without_a_value_means_the_defaults() -> None:
    assert schema.Shutdown.model_validate(None) == schema.Shutdown()


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        schema.Shutdown.model_validate({"timeuot": "5s"})
