from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.config.quantities import (
    format_duration,
    format_percent,
    parse_duration,
    parse_percent,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("2s", 2.0), ("0.5s", 0.5), ("5m", 300.0), ("1h", 3600.0), ("0s", 0.0), ("never", inf)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "2 s", "2sec", "-1s", "1h30m", "Never", "1e3s", "٣s", "2s\n"])
def test_anything_else_is_no_duration_and_the_error_shows_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and a unit, such as 250ms"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_that_is_written_reads_back_as_itself(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(("seconds", "text"), [(60.0, "1m"), (90.0, "90s"), (0.25, "250ms"), (inf, "never")])
def test_a_duration_is_written_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("512B", 512), ("64KiB", 65536), ("1MiB", 1048576)])
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "1KB", "1.5MiB", "-1", "1 MiB"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(("text", "share"), [("0%", 0.0), ("20%", 0.2), ("12.5%", 0.125), ("100%", 1.0)])
def test_a_percentage_is_read_as_a_share_of_one_and_written_back(text: str, share: float) -> None:
    assert parse_percent(text) == share
    assert format_percent(share) == text


@pytest.mark.parametrize("text", ["20", "0.2", "101%", "-1%", "%"])
def test_anything_else_is_no_percentage(text: str) -> None:
    with pytest.raises(ValueError, match="write a number from 0% to 100%"):
        parse_percent(text)
