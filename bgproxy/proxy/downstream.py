"""One client connection: requests one after the other, each handed to an exchange of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from bgproxy.errors import ProxyError
from bgproxy.http1 import responses
from bgproxy.http1.forwarding import Client, Identity, identity, lines
from bgproxy.http1.head import RequestHead, skip_empty_line
from bgproxy.http1.rewrite import request_head, with_hops
from bgproxy.proxy import limits
from bgproxy.proxy.client import ClientConnection
from bgproxy.proxy.exchange import Exchange
from bgproxy.proxy.log_entry import note_refused
from bgproxy.proxy.portions import PORTION_BYTES, read_in_portions
from bgproxy.shared_memory.counters import RESPONSES

if TYPE_CHECKING:
    from bgproxy.observability.access import Part
    from bgproxy.proxy.dataplane import DataPlane
    from bgproxy.proxy.origin import Origin

# RFC 9110 section 7.6.2: the methods whose way through proxies may be limited.
# An empty line may come behind a body, from clients of long ago (RFC 9112 section 2.2).
NOTHING_YET: Final = (b"", b"\r\n")
HOPS_DIGITS: Final = 9  # whoever allows for more hops sets no limit
HOP_COUNTED: Final = frozenset({b"OPTIONS", b"TRACE"})


class DownstreamUser(Protocol):
    """What a client connection tells whoever has it: an exchange, or the tunnel that it became."""

    def client_data(self, data: bytes) -> None: ...
    def client_eof(self) -> bool: ...
    def client_gone(self) -> None: ...
    def client_full(self) -> None: ...
    def client_drained(self) -> None: ...
    def timed_out(self) -> None: ...


class Downstream(ClientConnection):
    """`user` is None between requests."""

    __slots__ = (
        "_begun",
        "_buffer",
        "_client",
        "_eof",
        "_full",
        "_head",
        "_identity",
        "_lingering",
        "_told",
        "choked",
        "logged",
        "outgoing",
        "preview",
        "user",
    )

    def __init__(self, plane: DataPlane, origin: Origin) -> None:
        ClientConnection.__init__(self, plane, origin)  # `super()` would cost as much as all that follows
        # for the connection's life
        self.preview = origin.settings.preview
        self._client: Client | None = None
        self.logged: Part = None  # what the access log has made of it, if it has
        # the last request's head, and what was made of it for the upstream
        self._head: RequestHead | None = None
        self._told = b""
        self._identity: Identity | None = None
        self.outgoing = b""
        # for the present request
        self._buffer = b""
        self._begun = False  # some of its head has come
        self.user: DownstreamUser | None = None
        self._eof = False
        self.choked = False  # it is not read, because an upstream does not read it
        self._full = False  # the client does not read what it was sent
        self._lingering = False

    def next_request(self, rest: bytes) -> None:
        """The response is complete and the connection stays open; `rest` was read beyond the request."""
        self.user = None
        self.deadline = self.plane.now + self.plane.idle_s
        if rest or self._buffer or self._full or self.choked:
            self._buffer = rest + self._buffer
            self.choked = False
            if self._full:
                self.transport.pause_reading()
                return
            self.transport.resume_reading()
            # Not at once: a long pipeline must neither recurse nor keep other connections waiting.
            self.plane.loop.call_soon(self._continue)
        elif self._eof:
            self.transport.close()

    def keep(self, rest: bytes) -> None:
        """Keeps bytes of the next request until this one is answered."""
        self._buffer += rest
        if len(self._buffer) > limits.PIPELINE_BYTES:
            self.transport.pause_reading()

    def take_kept(self) -> bytes:
        """What was kept of the client's bytes: it turned out not to be a request."""
        kept, self._buffer = self._buffer, b""
        return kept

    def refuse(self, error: ProxyError) -> None:
        """Answers a request that cannot be read, and closes: nothing behind it can be trusted."""
        plane = self.plane
        plane.unrouted[RESPONSES + error.status // 100] += 1
        retry_after_s = 1 if error.status == 503 else None
        answer = responses.error_response(
            error.status, error.reason, plane.date, close=True, retry_after_s=retry_after_s
        )
        self.transport.write(answer)
        if plane.access_log is not None:
            note_refused(plane.access_log, self, error.status, len(answer))
        self.close_lingering()

    def close_lingering(self) -> None:
        """Closes so that the client can read what it was told, even if it is still sending."""
        self.user = None
        if self.transport.is_closing():
            return
        if self._eof:
            self.transport.close()
            return
        self._lingering = True
        self._buffer = b""
        self.deadline = self.plane.now + limits.LINGER_S
        self.transport.write_eof()
        self.transport.resume_reading()

    def expired(self) -> None:
        """The deadline has passed; called by the sweep."""
        if self.user is not None:
            self.user.timed_out()
        elif self._lingering or self.transport.is_closing():
            self.transport.abort()
        elif not self.is_idle() and not self._full:
            self.refuse(ProxyError(408, "the request head did not arrive in time"))
        else:
            self.transport.close()
            self.deadline = self.plane.now + limits.LINGER_S

    def is_full(self) -> bool:
        """True if the client does not read what it is sent."""
        return self._full

    def is_idle(self) -> bool:
        """True between requests, when nothing of the next one has arrived."""
        return self.user is None and self._buffer in NOTHING_YET

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        user = self.user
        if user is not None:
            if len(data) > PORTION_BYTES:
                read_in_portions(self.transport, self)
            user.client_data(data)
        elif not self._lingering:
            if self._buffer:
                data = self._buffer + data
            self._begin(data)

    def eof_received(self) -> bool:
        self._eof = True
        if self.user is not None:
            return self.user.client_eof()
        if self._lingering or not self._buffer:
            return False
        self.plane.loop.call_soon(self._continue)  # there may be whole requests; half of one never ends
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self.leave()
        self._buffer = b""  # what nobody would get the answers to is not begun
        if self.user is not None:
            self.user.client_gone()
            self.user = None

    def pause_writing(self) -> None:
        self._full = True
        if self.user is not None:
            self.user.client_full()
        elif not self._lingering:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        if self.user is not None:
            self.user.client_drained()
        elif not self._lingering and not self.transport.is_closing():
            self.transport.resume_reading()
            self.next_request(b"")

    # Private

    def _continue(self) -> None:
        if self.user is not None or self._lingering or not self._buffer:
            return
        data, self._buffer = self._buffer, b""
        self._begin(data)

    def _begin(self, data: bytes, received: bytes = b"") -> None:
        """`data` is what was `received` without the empty line in front of it, if there was one."""
        head = self._head
        if head is None or not data.startswith(head.raw):  # the last one again?
            head = self._read_head(data, received)
            if head is None:
                return
        self._buffer = b""
        self._begun = False
        identity = self._identity
        exchange = Exchange(self, head, b"\r\n" if identity is None else identity())
        self.user = exchange
        exchange.start(data)
        if head.size > limits.MEMO_BYTES:
            self._head, self._told, self.outgoing = None, b"", b""

    def _read_head(self, data: bytes, received: bytes) -> RequestHead | None:
        """The head of a request that is not the last one again; None if there is none to go on with."""
        try:
            head = self.origin.heads.read(data, self._head)
        except ProxyError as error:
            rest = skip_empty_line(data)
            if rest is data or rest[:2] == b"\r\n":
                self.refuse(error)
            else:
                self._begin(rest, data)
            return None
        if head is None:
            if self._eof:
                self.transport.close()
                return None
            if not self._begun:
                # Once: whoever sends an empty line now and then must not have more time for it.
                self._begun = True
                self.deadline = self.plane.now + self.plane.request_head_s
            self._buffer = received or data
            return None
        self._prepare(head)
        if head.method in HOP_COUNTED and not self._count_hop(head):
            self._buffer = b""
            self._begun = False
            return None
        return head

    def _prepare(self, head: RequestHead) -> None:
        """Makes what goes upstream of a head that is not the last one's."""
        origin, fields, last = self.origin, head.fields, self._head
        if last is None and head.size <= limits.MEMO_BYTES:
            origin.heads.last = head
        if last is None or last.fields is not fields or last.host != head.host or last.minor != head.minor:
            if origin.told is None or fields.claims or not head.minor or not head.host or self._named:
                self._tell(head)
            else:
                self._told = origin.told % (self.peer, head.host)
                self._identity = origin.identity
        self._head = head
        self.outgoing = request_head(head, self._told)

    def _tell(self, head: RequestHead) -> None:
        """What the upstream is told beside a head that is not a usual one."""
        forwarding = self.origin.settings.forwarding
        client = self._client
        if client is None:
            client = self._client = self._describe_client()
        self._identity = identity(forwarding, head.fields)
        self._told = lines(head.fields, head.host, head.minor, client, forwarding)

    def _count_hop(self, head: RequestHead) -> bool:
        """RFC 9110 section 7.6.2: false if the request was for the last one that it may reach, which is us."""
        hops = head.fields.get(b"max-forwards")
        if hops is None or not hops.isdigit() or len(hops) > HOPS_DIGITS:
            return True
        self._head = None  # what was made of it is of no use for the next one
        left = int(hops)
        if left:
            self.outgoing = with_hops(self.outgoing, left - 1)
            return True
        self.refuse(ProxyError(501, "there is nothing here to trace or to ask about, only behind this proxy"))
        return False

    def _describe_client(self) -> Client:
        origin = self.origin
        port = origin.port if self._named is None else self._named[1][1]
        return Client(self.peer, origin.scheme, b"%d" % port if port else b"", origin.trusts(self.peer))
