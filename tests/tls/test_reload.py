from __future__ import annotations

from pathlib import Path

import pytest

from bgproxy.tls.pem import Unusable
from bgproxy.tls.reload import FromFiles


class Text(FromFiles[str]):
    """Is made of two files, which have to begin alike."""

    def __init__(self, directory: Path) -> None:
        self.one, self.other = directory / "one", directory / "other"
        self.times_made = 0
        super().__init__((str(self.one), str(self.other)), self._read)

    def _read(self) -> str:
        self.times_made += 1
        try:
            one, other = self.one.read_text(), self.other.read_text()
        except OSError:
            raise Unusable("a file", "is gone") from None
        if one[0] != other[0]:
            raise Unusable(str(self.other), f"has {other}, which does not go with {one}")
        return one + other


@pytest.fixture
def text(tmp_path: Path) -> Text:
    (tmp_path / "one").write_text("a1")
    (tmp_path / "other").write_text("a2")
    return Text(tmp_path)


def test_files_that_stay_as_they_are_are_not_read_again(text: Text) -> None:
    assert (text.value, text.refresh(), text.times_made) == ("a1a2", [], 1)


def test_a_file_that_is_written_or_replaced_is_read_again(text: Text, tmp_path: Path) -> None:
    text.one.write_text("a3")
    assert text.refresh() == [str(text.one)]
    (tmp_path / "new").write_text("a4")
    (tmp_path / "new").rename(text.other)
    assert text.refresh() == [str(text.other)]
    assert text.value == "a3a4"


def test_new_permissions_are_seen(text: Text) -> None:
    text.one.chmod(0o600)
    assert text.refresh() == [str(text.one)]


def test_what_does_not_fit_together_is_tried_again_until_it_does_and_said_once(
    text: Text, caplog: pytest.LogCaptureFixture
) -> None:
    text.one.write_text("b1")
    assert [text.refresh(), text.refresh()] == [[], []]
    assert (text.value, text.times_made) == ("a1a2", 3)
    text.other.unlink()
    assert text.refresh() == []
    assert [record.message for record in caplog.records] == [
        f"{text.other} has a2, which does not go with b1; what was read before stays in use",
        "a file is gone; what was read before stays in use",
    ]
    text.other.write_text("b2")
    assert text.refresh() == [str(text.one), str(text.other)]
    assert text.value == "b1b2"


def test_a_value_that_cannot_be_made_at_first_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="a file is gone"):
        Text(tmp_path)
