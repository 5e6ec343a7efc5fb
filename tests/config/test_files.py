from __future__ import annotations

from pathlib import Path

import pytest

from bgproxy.config.files import PAGE_BYTES, existing_file, page


def test_a_relative_path_starts_at_the_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("")
    assert existing_file(tmp_path, "c.pem") == str(tmp_path / "c.pem")


@pytest.mark.parametrize("read", [existing_file, page])
def test_a_file_that_is_not_there_is_said(tmp_path: Path, read: object) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read(tmp_path, "gone")  # type: ignore[operator]


def test_a_page_is_text_of_a_bounded_size(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<p>ü</p>")
    assert page(tmp_path, "page.html") == "<p>ü</p>"
    file.write_bytes(b"x" * (PAGE_BYTES + 1))
    with pytest.raises(ValueError, match="more than 65536 bytes"):
        page(tmp_path, "page.html")
    file.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="not UTF-8"):
        page(tmp_path, "page.html")
