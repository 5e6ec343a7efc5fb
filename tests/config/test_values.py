from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from bgproxy.config import values
from bgproxy.config.secrets import Secrets


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (values.Integer, "12", 12),
        (values.Boolean, "false", False),
        (values.Workers, "8", 8),
        (values.Duration, "never", float("inf")),
        (values.Share, "20%", 0.2),
        (values.Host, "*.Example.COM", "*.example.com"),
        (values.Authority, "Example.com:80", "example.com:80"),
        (values.Authority, "10.0.0.1", "10.0.0.1"),
        (values.UpstreamAddress, "[2001:DB8::0:1]:80", "[2001:db8::1]:80"),
        (values.BindAddress, "localhost:0", "localhost:0"),
        (values.Statuses, "200-203", (200, 201, 202, 203)),
        (values.Statuses, 204, (204,)),
        (values.HeaderValue, "naïve\tvalue", "naïve\tvalue"),
        (values.RequestTarget, "/health?deep=1", "/health?deep=1"),
    ],
)
def test_a_value_is_read_and_brought_to_its_one_form(kind: type, written: object, value: object) -> None:
    assert TypeAdapter(kind).validate_python(written, strict=True) == value


@pytest.mark.parametrize(
    "kind", [values.Integer, values.Boolean, values.Duration, values.Share, values.Statuses]
)
@pytest.mark.parametrize("written", ["", "x", None, [], {}, "-1", "1\n", 1.5])
def test_a_value_of_another_kind_is_refused(kind: type, written: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(written, strict=True)


def test_a_secret_needs_to_know_where_secrets_are() -> None:
    with pytest.raises(TypeError, match="context=Secrets"):
        TypeAdapter(values.SecretFromEnv).validate_python("TOKEN")


def test_a_fetched_secret_is_not_in_its_repr() -> None:
    context = Secrets({"TOKEN": "hunter2"}, Path())
    assert "hunter2" not in repr(TypeAdapter(values.SecretFromEnv).validate_python("TOKEN", context=context))
