from __future__ import annotations

import pytest

from bgproxy.config import admin, schema, service


@pytest.mark.parametrize(
    ("location", "settings"),
    [
        ((), schema.File),
        (("services",), schema.File),
        (("services", "web"), service.Service),
        (("services", "health"), service.Service),
        (("services", "health", "health"), service.Health),
        (("services", "web", "pools", "blue", "upstreams", 0), service.Upstream),
        (("services", "web", "preview", "header"), service.PreviewHeader),
        (("admin", "tokens", 1), admin.AdminToken),
        (("nowhere", "else"), schema.File),
    ],
)
def test_the_settings_at_a_place_are_found_whatever_the_services_are_called(
    location: tuple[str | int, ...], settings: type
) -> None:
    assert schema.settings_at(location) is settings
