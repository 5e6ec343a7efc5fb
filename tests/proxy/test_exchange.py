"""The relay: every framing, both ways, byte for byte and at once."""

from __future__ import annotations

import pytest

from bgproxy.model import Canary, Preview, Sticky
from tests.proxy.conftest import Converse
from tests.support.conversation import answer, forwarded, get

CHUNKED_POST = get("/", "Transfer-Encoding: chunked", method="POST")
CHUNKED_OK = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"


async def test_a_request_and_its_response_pass_unchanged_but_for_the_forwarded_fields(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/a?b=c", "Accept: */*", "X-Odd:  kept as it was "))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/a?b=c", "Accept: */*", "X-Odd:  kept as it was ")))
    await upstream.sends(answer("hello", "Server: test"))
    await client.gets(answer("hello", "Server: test"))


async def test_hop_by_hop_fields_are_not_forwarded_in_either_direction(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/", "Connection: keep-alive, X-Private", "X-Private: 1", "Keep-Alive: 9", "A: b"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/", "A: b")))
    await upstream.sends(
        "HTTP/1.1 200 OK\nConnection: keep-alive, X-Inner\nX-Inner: 1\nContent-Length: 0\n\n"
    )
    await client.gets("HTTP/1.1 200 OK\nContent-Length: 0\n")
    assert b"X-Inner" not in await client.gets_until(b"\r\n")


async def test_a_request_body_of_known_length_passes_as_it_comes(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/", "Content-Length: 10", method="POST") + "12345")
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/", "Content-Length: 10", method="POST") + "12345"))
    await client.sends("678")
    await upstream.gets("678")
    await client.sends("90")
    await upstream.gets("90")
    await upstream.sends(answer("done"))
    await client.gets(answer("done"))


async def test_a_chunked_request_body_passes_with_its_trailers_and_without_its_extensions(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(CHUNKED_POST + "5;a=b\nhello\n")
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(CHUNKED_POST) + "5\nhello\n")
    await client.sends("0\nX-Sum: 1\n\n")
    await upstream.gets("0\nX-Sum: 1\n\n")
    await upstream.sends(answer())
    await client.gets(answer())


async def test_a_chunked_response_passes_at_once_piece_by_piece_with_trailers(converse: Converse) -> None:
    """As server-sent events need it: nothing waits for more."""
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(CHUNKED_OK)
    await client.gets(CHUNKED_OK)
    for event in ("9\ndata: 1\n\n", "9\ndata: 2\n\n"):
        await upstream.sends(event)
        await client.gets(event)
    await upstream.sends("0\nX-Sum: 1\n\n")
    await client.gets("0\nX-Sum: 1\n\n")
    await client.sends(get("/next"))
    await upstream.gets(forwarded(get("/next")))


async def test_a_response_of_known_length_passes_in_pieces_and_its_connections_live_on(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends("HTTP/1.1 200 OK\nContent-")
    await upstream.sends("Length: 6\n")
    await upstream.sends("\nab")
    await client.gets("HTTP/1.1 200 OK\nContent-Length: 6\n\nab")
    for piece in ("cd", "ef"):
        await upstream.sends(piece)
        await client.gets(piece)
    await client.sends(get("/next"))
    await upstream.gets(forwarded(get("/next")))


async def test_a_response_that_ends_by_closing_is_chunked_for_http_1_1(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends("HTTP/1.1 200 OK\nServer: old\n\nfirst")
    await client.gets("HTTP/1.1 200 OK\nServer: old\nTransfer-Encoding: chunked\n\n5\nfirst\n")
    await upstream.sends("the second")
    await client.gets("a\nthe second\n")
    upstream.closes()
    await client.gets("0\n\n")
    await client.sends(get("/next"))
    await (await talk.blue[0].accepts()).gets(forwarded(get("/next")))


async def test_a_response_that_ends_by_closing_does_so_for_http_1_0(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get(version="1.0"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends("HTTP/1.1 200 OK\nServer: old\n\nbody")
    await client.gets("HTTP/1.1 200 OK\nServer: old\nConnection: close\n\nbody")
    upstream.closes()
    await client.gets_end()


async def test_an_empty_response_that_ends_by_closing_is_complete(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends("HTTP/1.1 200 OK\n\n")
    upstream.closes()
    await client.gets("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\n\n")


async def test_a_chunked_response_is_decoded_for_http_1_0(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/", "Connection: keep-alive", version="1.0"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(CHUNKED_OK + "5\nhello\n")
    await client.gets("HTTP/1.1 200 OK\nConnection: close\n\nhello")
    await upstream.sends("6\n world\n0\nX-Sum: 1\n\n")
    await client.gets(" world")
    await client.gets_end()


@pytest.mark.parametrize("connection", ["keep-alive", ""])
async def test_http_1_0_is_kept_alive_only_if_it_asks_for_it(converse: Converse, connection: str) -> None:
    talk = await converse()
    client = await talk.client()
    fields = [f"Connection: {connection}"] if connection else []
    await client.sends(get("/", *fields, version="1.0"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("hello"))
    await client.gets(answer("hello", f"Connection: {connection or 'close'}"))
    if connection:
        await client.sends(get("/again", version="1.0"))
        await upstream.gets(forwarded(get("/again")))
    else:
        await client.gets_end()


async def test_a_client_that_asks_for_it_is_told_of_the_close_and_closed(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/", "Connection: close"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("bye"))
    await client.gets(answer("bye", "Connection: close"))
    await client.gets_end()
    await talk.until(lambda: talk.kept(talk.blue[0]) == 1, "the upstream's connection is kept")


@pytest.mark.parametrize(
    ("request_head", "response"),
    [
        (get(method="HEAD"), "HTTP/1.1 200 OK\nContent-Length: 5000\n\n"),
        (get(method="HEAD"), "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"),
        (get(), "HTTP/1.1 204 No Content\n\n"),
        (get(), 'HTTP/1.1 304 Not Modified\nContent-Length: 5000\nETag: "a"\n\n'),
    ],
)
async def test_a_response_without_a_body_ends_with_its_head(
    converse: Converse, request_head: str, response: str
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(request_head)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(request_head))
    await upstream.sends(response)
    await client.gets(response)
    await client.sends(get("/next"))
    await upstream.gets(forwarded(get("/next")))
    await upstream.sends(answer("next"))
    await client.gets(answer("next"))


async def test_100_continue_is_the_upstreams_to_give(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    head = get("/", "Content-Length: 4", "Expect: 100-continue", method="PUT")
    await client.sends(head)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(head))
    await upstream.sends("HTTP/1.1 100 Continue\n\n")
    await client.gets("HTTP/1.1 100 Continue\n\n")
    await client.sends("body")
    await upstream.gets("body")
    await upstream.sends(answer(status="201 Created"))
    await client.gets(answer(status="201 Created"))


async def test_a_refusal_instead_of_100_continue_ends_the_connection_and_is_readable(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/", "Content-Length: 4", "Expect: 100-continue", method="PUT"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets_until(b"\r\n\r\n")
    await upstream.sends(answer("no", status="417 Expectation Failed"))
    await client.gets(answer("no", "Connection: close", status="417 Expectation Failed"))
    await client.gets_end()
    await upstream.gets_cut_off()


async def test_early_hints_pass_ahead_of_the_response_even_in_one_piece_with_it(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    hints = "HTTP/1.1 103 Early Hints\nLink: </a.css>\n\n"
    await upstream.sends(hints)
    await client.gets(hints)
    await upstream.sends(hints + answer("page"))
    await client.gets(hints + answer("page"))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_informational_response_is_of_our_own_version_and_has_no_hop_by_hop_fields(
    converse: Converse, version: str
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    fields = "Connection: x-hop\nX-Hop: 1\nKeep-Alive: 5\nLink: </a.css>\n"
    coding = "Transfer-Encoding: chunked\n" if version == "1.1" else ""
    await upstream.sends(f"HTTP/{version} 103 Early Hints\n{fields}{coding}\n" + answer("page"))
    await client.gets("HTTP/1.1 103 Early Hints\nLink: </a.css>\n\n" + answer("page"))


@pytest.mark.parametrize(
    ("version", "method", "status"),
    [("1.0", "HEAD", "200 OK"), ("1.0", "GET", "304 Not Modified"), ("1.1", "GET", "204 No Content")],
)
async def test_transfer_encoding_is_not_sent_where_it_must_not_be(
    converse: Converse, version: str, method: str, status: str
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/", "Connection: keep-alive", method=method, version=version))
    upstream = await talk.blue[0].accepts()
    await upstream.sends(f"HTTP/1.1 {status}\nTransfer-Encoding: chunked\n\n")
    kept = "Connection: keep-alive\n" if version == "1.0" else ""
    await client.gets(f"HTTP/1.1 {status}\n{kept}\n")
    await client.sends(get("/next"))
    await upstream.gets_until(b"GET /next")


async def test_http_1_0_gets_no_informational_response(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get(version="1.0"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends("HTTP/1.1 103 Early Hints\n\n" + answer("page"))
    await client.gets(answer("page", "Connection: close"))


async def test_an_early_response_streams_while_the_upload_goes_on(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(CHUNKED_POST)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(CHUNKED_POST))
    await upstream.sends(CHUNKED_OK)
    await client.gets("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nConnection: close\n\n")
    for piece in ("3\none\n", "3\ntwo\n"):
        await client.sends(piece)
        await upstream.gets(piece)
        await upstream.sends(piece)
        await client.gets(piece)
    await client.sends("0\n\n")
    await upstream.gets("0\n\n")
    await upstream.sends("0\n\n")
    await client.gets("0\n\n")
    await client.gets_end()


async def test_an_early_response_is_readable_by_a_client_that_goes_on_sending(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/", "Content-Length: 1000000", method="POST") + "a" * 1000)
    upstream = await talk.blue[0].accepts()
    await upstream.gets_until(b"a" * 1000)
    await upstream.sends(answer("too big", status="413 Content Too Large"))
    upstream.closes()
    await client.sends(b"a" * 200_000)
    await client.gets(answer("too big", "Connection: close", status="413 Content Too Large"))
    await client.gets_end()


async def test_a_sticky_cookie_is_set_on_the_response(converse: Converse) -> None:
    talk = await converse(canary=Canary(100, salt="r1"), sticky=Sticky(cookie="side", ttl_s=60))
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.green[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("green"))
    first = await client.gets_response()
    assert first.body == "green"
    cookie, _, attributes = first.fields["set-cookie"].partition("; ")
    assert attributes == "Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
    await client.sends(get("/", f"Cookie: {cookie}"))
    await upstream.gets(forwarded(get("/", f"Cookie: {cookie}")))
    await upstream.sends(answer("green"))
    await client.gets(answer("green"))


async def test_the_secret_of_a_preview_is_not_forwarded_to_either_pool(converse: Converse) -> None:
    talk = await converse(preview=Preview(header="X-Preview", secret="s3cret"))
    client = await talk.client()
    for value, upstream in (("s3cret", talk.green[0]), ("wrong", talk.blue[0])):
        await client.sends(get("/", f"x-preview: {value}", "A: b"))
        peer = await upstream.accepts()
        await peer.gets(forwarded(get("/", "A: b")))
        await peer.sends(answer())
        await client.gets(answer())


async def test_a_host_that_no_service_has_is_answered_404_and_the_connection_goes_on(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends("GET / HTTP/1.1\nHost: other\n\n")
    assert (await client.gets_response()).status == 404
    assert talk.unrouted.responses[4] == 1
    await client.sends(get())
    await (await talk.blue[0].accepts()).gets(get())
