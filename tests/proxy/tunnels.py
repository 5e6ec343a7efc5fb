"""How a tunnel comes about: an upgrade that both sides agree on."""

from __future__ import annotations

from typing import NamedTuple

from tests.support.conversation import Conversation, get
from tests.support.peers import Peer


class Ends(NamedTuple):
    client: Peer
    upstream: Peer

    def of(self, side: str) -> tuple[Peer, Peer]:
        """The end that is called so, and the other one."""
        return (self.client, self.upstream) if side == "client" else (self.upstream, self.client)


def upgrade(protocol: str = "chat") -> str:
    return get("/chat", "Connection: Upgrade", f"Upgrade: {protocol}", "Sec-WebSocket-Key: abc")


def upgrade_forwarded(protocol: str = "chat") -> str:
    head = get("/chat", "Sec-WebSocket-Key: abc")[:-1]
    return f"{head}Connection: Upgrade\nUpgrade: {protocol}\n\n"


def switching(protocol: str = "chat") -> str:
    return f"HTTP/1.1 101 Switching Protocols\nUpgrade: {protocol}\nConnection: Upgrade\n\n"


async def tunnel(
    talk: Conversation, protocol: str = "chat", *, from_client: bytes = b"", from_upstream: bytes = b""
) -> Ends:
    """With what either side sends in one piece with its half of the handshake."""
    client = await talk.client()
    await client.sends(upgrade(protocol).replace("\n", "\r\n").encode() + from_client)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(upgrade_forwarded(protocol))
    await upstream.sends(switching(protocol).replace("\n", "\r\n").encode() + from_upstream)
    await client.gets(switching(protocol))
    return Ends(client, upstream)
