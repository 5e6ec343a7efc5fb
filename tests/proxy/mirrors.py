"""Conversations in which blue's requests are copied to green."""

from __future__ import annotations

from typing import Any

import msgspec

from bgproxy.model import Mirror
from bgproxy.shared_memory.mirrors import Mirrored, MirrorReader, MirrorTotals
from tests.support.conversation import Conversation, forwarded
from tests.support.peers import Peer

EVERY: Mirror = Mirror(share=1.0)
MARK = "X-Bgproxy-Mirror: true"


def copied(request: str, *, without: str = "") -> str:
    """The copy of a request as the idle pool gets it."""
    return forwarded(request, without=without).replace("\n", f"\n{MARK}\n", 1)


def shown(talk: Conversation) -> Mirrored:
    return MirrorReader(talk._memory).read(talk.view.slot, talk.view.tag)


def differences(talk: Conversation) -> list[dict[str, Any]]:
    return [msgspec.json.decode(text) for text in shown(talk).differences]


async def until_counted(talk: Conversation, **expected: int) -> None:
    """Returns when the mirror's totals are exactly these."""
    wanted = MirrorTotals(**expected)
    await talk.until(lambda: shown(talk).totals == wanted, f"{wanted} is counted, not {shown(talk).totals}")


async def asks(talk: Conversation, client: Peer, request: str) -> tuple[Peer, Peer]:
    """A client's request, on new connections to both pools; neither has answered yet."""
    await client.sends(request)
    blue, green = await talk.blue[0].accepts(), await talk.green[0].accepts()
    await blue.gets(forwarded(request))
    await green.gets(copied(request))
    return blue, green
