from benchmarks.wire.observed import ClientSide, Observed, RequestReader, UpstreamSide, read_responses


def an_upstream(*pieces: bytes) -> UpstreamSide:
    side = UpstreamSide("a")
    for piece in pieces:
        side.raw += piece
        side.reader.feed(piece)
    return side


POST = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\nX-T: 1\r\n\r\n"


def test_requests_are_read_however_they_are_split() -> None:
    for side in (an_upstream(POST + POST), an_upstream(*(bytes([each]) for each in POST + POST))):
        assert side.fault is None
        assert [(each.target, bytes(each.body), each.whole) for each in side.reader.requests] == [
            (b"/a", b"one", True)
        ] * 2
        assert side.reader.requests[0].trailers == [(b"x-t", b"1")]


def test_a_request_without_its_end_is_not_whole() -> None:
    reader = RequestReader()
    reader.feed(POST[:-4])
    assert [each.whole for each in reader.requests] == [False]


def test_what_h11_refuses_is_a_fault() -> None:
    fault = an_upstream(b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n").fault
    assert fault is not None
    assert fault.startswith("h11: ")


def test_what_only_llhttp_refuses_is_a_fault() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    fault = an_upstream(head + b"0\r\n\r\n").fault
    assert fault is not None
    assert fault.startswith("llhttp: ")


def test_a_method_that_llhttp_does_not_know_is_no_fault() -> None:
    assert an_upstream(b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n").fault is None


def test_frames_behind_an_upgrade_are_no_fault_of_llhttp() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    assert an_upstream(upgrade).fault is None
    assert [each.whole for each in an_upstream(upgrade + b"\x81\x00").reader.requests] == [True]


def test_responses_are_read_by_the_methods_that_asked_for_them() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
    responses, fault = read_responses(raw, "open", ("HEAD", "GET"))
    assert fault is None
    assert [(bytes(each.body), each.whole) for each in responses] == [(b"", True), (b"one", True)]


def test_the_end_of_the_connection_ends_a_body_only_if_nothing_else_does() -> None:
    until_close = b"HTTP/1.1 200 OK\r\n\r\none"
    sized = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\none"
    assert read_responses(until_close, "closed", ("GET",))[0][0].whole
    assert not read_responses(until_close, "reset", ("GET",))[0][0].whole
    assert not read_responses(until_close, "open", ("GET",))[0][0].whole
    assert not read_responses(sized, "closed", ("GET",))[0][0].whole


def test_informational_responses_belong_to_the_final_one() -> None:
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    (response,) = read_responses(raw, "open", ("GET",))[0]
    assert response.informational == [(103, [(b"link", b"a")])]


def test_an_upgrade_has_no_body() -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x00"
    (response,) = read_responses(raw, "open", ("UPGRADE",))[0]
    assert (response.status, response.whole) == (101, True)


def test_requests_are_in_the_order_in_which_they_began_whatever_the_connection() -> None:
    first, second = an_upstream(POST), an_upstream(POST.replace(b"/a", b"/b"))
    first.reader.feed(POST.replace(b"/a", b"/c"))
    seen = Observed(("POST",) * 3, upstreams=[first, second])
    assert [each.target for each in seen.requests] == [b"/a", b"/b", b"/c"]


def test_every_connection_of_a_client_has_its_own_responses() -> None:
    answer = bytearray(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
    seen = Observed(("GET", "GET"), clients=[ClientSide(answer[:], "closed"), ClientSide(answer[:])])
    assert [bytes(each.body) for each in seen.responses] == [b"a", b"a"]
    assert seen.end == "open"
