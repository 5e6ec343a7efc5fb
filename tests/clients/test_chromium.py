"""A browser through a running bgproxy with TLS: all that a page does, and a cutover that it does not notice."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.browser import Page, chromium
from tests.clients.conftest import APP, Front

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUSY = 50  # polls before and after a cutover


@pytest_asyncio.fixture(loop_scope="module")
async def page(front: Front, tmp_path: Path) -> AsyncIterator[Page]:
    async with chromium(tmp_path, host=APP, certificate=front.certificate.cert) as page:
        await page.open(f"https://{APP}:{front.port('secure')}/")
        yield page


async def test_a_page_with_an_image_a_post_a_stream_and_a_websocket_works(page: Page) -> None:
    assert await page.says("everything()") == {
        "image": [3, 2],
        "posted": [200, f"POST counted 100000 {sha256(b'x' * 100_000).hexdigest()}"],
        "echo": "grüße",
        "events": ["1 of v1", "2 of v1", "3 of v1"],
        "protocols": ["http/1.1"],
        "failures": [],
    }


async def test_a_page_sees_a_cutover_as_another_version_and_nothing_else(front: Front, page: Page) -> None:
    """The stream and the WebSocket stay where they are; the WebSocket is closed when the drain is over."""
    await page.says("everything()")
    await page.says("void poll()")
    await page.until(f"versions.length > {BUSY}")
    code, answer = await front.proxy.call("POST", "/admin/switch")
    assert code == 200, answer
    began_later = await page.says("versions.length + 1")  # one was under way
    assert await page.says("echo('still there')") == "still there"
    await page.until(f"versions.length > {began_later + BUSY}")
    await page.says("void (polling = false)")
    versions = await page.says("versions")
    assert [version for version, _ in itertools.groupby(versions)] == ["v1", "v2"]
    assert set(versions[began_later:]) == {"v2"}
    await page.until("closed")
    assert await page.says("closed") == {"code": 1001, "clean": True}
    before = await page.says("events.length")
    await page.until(f"events.length > {before}")
    assert {event.split()[-1] for event in await page.says("events")} == {"v1"}
    assert await page.says("failures") == []
