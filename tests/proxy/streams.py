"""Connections of TCP listeners: how a conversation has them, and what it looks like when one is relayed."""

from __future__ import annotations

from typing import Any

from bgproxy.model import Protocol
from tests.proxy.conftest import Converse
from tests.proxy.tunnels import Ends
from tests.support.conversation import Conversation
from tests.support.peers import ScriptedUpstream


async def converse_over_tcp(
    converse: Converse, *, listener: dict[str, Any] | None = None, **options: Any
) -> Conversation:
    """A conversation whose listeners are TCP listeners of its service."""
    settings = {"protocol": Protocol.TCP, "service": "web", **(listener or {})}
    return await converse(listener=settings, **{"protocol": Protocol.TCP, **options})


async def relayed(talk: Conversation, to: ScriptedUpstream | None = None, **options: Any) -> Ends:
    """A new client, and the connection that an upstream (the first of blue, if not said) has got for it."""
    before = set(talk.plane.tunnels)
    client = await talk.client(**options)
    upstream = await (to or talk.blue[0]).accepts()
    await talk.until(lambda: talk.plane.tunnels - before, "the connection is relayed")
    return Ends(client, upstream)
