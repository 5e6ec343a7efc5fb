from __future__ import annotations

from pathlib import Path

import pytest

from bgproxy.config.secrets import Secrets


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets({"TOKEN": "correct horse", "BROKEN": "a\r\nb", "EMPTY": ""}, tmp_path)


def test_a_secret_comes_from_a_variable_or_from_a_file_beside_the_configuration(
    secrets: Secrets, tmp_path: Path
) -> None:
    (tmp_path / "token").write_bytes(b"battery staple\r\n")
    assert secrets.from_env("TOKEN") == "correct horse"
    assert secrets.from_file("token") == secrets.from_file(f"{tmp_path}/token") == "battery staple"


def test_a_variable_that_is_not_set_is_named(secrets: Secrets) -> None:
    with pytest.raises(ValueError, match="GONE, which is not set"):
        secrets.from_env("GONE")


def test_a_secret_in_the_place_of_a_name_is_not_repeated(secrets: Secrets) -> None:
    with pytest.raises(ValueError, match="not the secret itself") as caught:
        secrets.from_env("s3cret-s3cret")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["BROKEN", "EMPTY"])
def test_a_secret_that_no_header_can_carry_is_refused(secrets: Secrets, name: str) -> None:
    with pytest.raises(ValueError, match="no header can carry"):
        secrets.from_env(name)


@pytest.mark.parametrize("path", ["gone", ".", "", "a\0b", "\ud800"])
def test_a_file_that_cannot_be_read_is_an_error(secrets: Secrets, path: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|path of a file"):
        secrets.from_file(path)


def test_a_large_file_is_no_secret(secrets: Secrets, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 5000)
    with pytest.raises(ValueError, match="more than 4096 bytes"):
        secrets.from_file("large")


def test_secrets_are_not_in_its_repr(secrets: Secrets) -> None:
    assert "horse" not in repr(secrets)
