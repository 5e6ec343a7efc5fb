from __future__ import annotations

import pytest

from bgproxy.config import schema


@pytest.mark.parametrize(
    ("location", "settings"),
    [
        ((), schema.File),
        (("services",), schema.File),
        (("services", "web"), schema.Service),
        (("services", "health"), schema.Service),
        (("services", "health", "health"), schema.Health),
        (("services", "web", "pools", "blue", "upstreams", 0), schema.Upstream),
        (("services", "web", "preview", "header"), schema.PreviewHeader),
        (("admin", "tokens", 1), schema.AdminToken),
        (("nowhere", "else"), schema.File),
    ],
)
def test_the_settings_at_a_place_are_found_whatever_the_services_are_called(
    location: tuple[str | int, ...], settings: type
) -> None:
    assert schema.settings_at(location) is settings


def test_settings_are_frozen_and_do_not_show_what_was_wrong_with_them() -> None:
    assert all(settings.model_config.get("frozen") for settings in schema.Settings.__subclasses__())
    assert all(
        settings.model_config.get("hide_input_in_errors") for settings in schema.Settings.__subclasses__()
    )
