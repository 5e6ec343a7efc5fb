from __future__ import annotations

from typing import Any

import click
import pytest

from bgproxy.cli.options import Duration, Pair, Size, WeightedUpstream


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Duration(), "250ms", "250ms"),
        (Size(), "8MiB", "8MiB"),
        (Pair(), "x-canary=a=b", ("x-canary", "a=b")),
        (Pair(), "beta=", ("beta", "")),
        (WeightedUpstream(), "10.0.0.1:80", {"address": "10.0.0.1:80", "weight": 1}),
        (WeightedUpstream(), "[::1]:80=0", {"address": "[::1]:80", "weight": 0}),
        (WeightedUpstream(), "unix:/run/a=b.sock=3", {"address": "unix:/run/a=b.sock", "weight": 3}),
    ],
)
def test_a_value_is_read_as_it_is_written(kind: click.ParamType[Any], text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value
    assert kind.convert(value, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text", "what"),
    [
        (Duration(), "5", "not a duration"),
        (Duration(), "never", "write one that ends"),
        (Duration(), "0s", "write one that ends"),
        (Size(), "8MB", "not a size"),
        (Pair(), "x-canary", "write it like x-canary=1"),
        (Pair(), "=1", "write it like x-canary=1"),
        (WeightedUpstream(), "10.0.0.1", "has no port"),
        (WeightedUpstream(), "10.0.0.1:80=two", "has no valid port"),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(
    kind: click.ParamType[Any], text: str, what: str
) -> None:
    with pytest.raises(click.BadParameter, match=what):
        kind.convert(text, None, None)
