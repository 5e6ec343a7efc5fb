"""curl through a running bgproxy with TLS: what everybody tries first."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tests.clients.conftest import APP, OTHER, Front
from tests.clients.programs import Ended, ended, program
from tests.clients.site import FILE, FILE_DIGEST, PIECES

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Exit codes of curl.
NO_HANDSHAKE, NOT_RECEIVED, NOT_TRUSTED = 35, 56, 60


async def curl(
    front: Front,
    *arguments: str,
    path: str = "/",
    host: str = APP,
    listener: str = "secure",
    stdin: bytes = b"",
) -> Ended:
    """One call of https://app.example.com/, which trusts the authority of the tests and nobody else."""
    if listener == "local":
        way, place = ["--unix-socket", str(front.directory / "local.sock")], host
    else:
        place = f"{host}:{front.port(listener)}"
        way = ["--resolve", f"{place}:127.0.0.1"]
    return await ended(
        *(program("curl"), "--disable", "--silent", "--show-error", "--max-time", "20"),
        *("--cacert", front.authority.path, *way, *arguments, f"https://{place}{path}"),
        stdin=stdin,
    )


def digest_of(data: bytes) -> str:
    return f"{len(data)} {sha256(data).hexdigest()}"


async def test_it_gets_what_the_site_answers(front: Front) -> None:
    assert (await curl(front, path="/version")).text == "v1"


async def test_it_posts_a_form(front: Front) -> None:
    done = await curl(front, "--data", "name=value", path="/digest")
    assert done.text == f"POST counted {digest_of(b'name=value')}"


async def test_a_head_has_the_length_and_no_body(front: Front) -> None:
    head = (await curl(front, "--head", path="/file")).text.lower()
    assert head.startswith("http/1.1 200 ")
    assert f"content-length: {len(FILE)}\r\n" in head


async def test_upstreams_are_told_that_it_was_https_and_which_host(front: Front) -> None:
    fields = json.loads((await curl(front, path="/about")).text)["fields"]
    assert fields["host"] == fields["x-forwarded-host"] == f"{APP}:{front.port('secure')}"
    assert (fields["x-forwarded-proto"], fields["x-forwarded-for"]) == ("https", "127.0.0.1")


@pytest.mark.parametrize("offer", ["--http1.1", "--http2", "--no-alpn"])
async def test_whatever_it_offers_they_agree_on_http_1_1(front: Front, offer: str) -> None:
    done = await curl(front, offer, "--write-out", " over %{http_version}", path="/version")
    assert done.text == "v1 over 1.1"


async def test_every_name_is_answered_with_its_own_certificate(front: Front) -> None:
    for host in (APP, OTHER):
        assert (await curl(front, host=host, path="/version")).text == "v1"


async def test_a_name_that_no_certificate_is_for_is_not_trusted(front: Front) -> None:
    done = await curl(front, host="third.example.com")
    assert done.code == NOT_TRUSTED
    assert "third.example.com" in done.errors


async def test_an_authority_that_it_does_not_know_is_not_trusted(front: Front) -> None:
    done = await curl(front, "--cacert", str(front.directory / "clients.pem"))
    assert done.code == NOT_TRUSTED
    assert (await curl(front, path="/version")).text == "v1"


@pytest.mark.parametrize("newest", ["1.0", "1.1"])
async def test_what_is_older_than_tls_1_2_is_refused(front: Front, newest: str) -> None:
    """With its own security level lowered, so that it is bgproxy who refuses."""
    done = await curl(
        front, *("--tlsv1.0", "--tls-max", newest, "--ciphers", "DEFAULT@SECLEVEL=0"), path="/version"
    )
    assert done.code == NO_HANDSHAKE, done
    assert "alert protocol version" in done.errors


@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_tls_1_2_and_1_3_are_spoken(front: Front, version: str) -> None:
    done = await curl(front, f"--tlsv{version}", "--tls-max", version, path="/version")
    assert done.text == "v1"


async def test_a_large_upload_is_sent_after_the_site_has_said_continue(front: Front, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(FILE)
    done = await curl(
        front,
        *("--verbose", "--header", "Expect: 100-continue", "--expect100-timeout", "15"),
        *("--data-binary", f"@{tmp_path}/large"),
        path="/digest",
    )
    assert done.text == f"POST counted {len(FILE)} {FILE_DIGEST}"
    assert "< HTTP/1.1 100 Continue" in done.errors


async def test_an_upload_that_the_site_does_not_want_is_not_sent(front: Front, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(FILE)
    done = await curl(
        front,
        *("--header", "Expect: 100-continue", "--expect100-timeout", "15"),
        *("--data-binary", f"@{tmp_path}/large", "--write-out", " %{http_code} %{size_upload}"),
        path="/too-large",
    )
    assert done.text == "no 413 0"


async def test_a_pipe_is_uploaded_in_chunks(front: Front) -> None:
    done = await curl(front, "--upload-file", "-", path="/digest", stdin=FILE)
    assert done.text == f"PUT chunked {len(FILE)} {FILE_DIGEST}"


async def test_a_slow_reader_gets_all_of_it(front: Front) -> None:
    done = await curl(front, "--limit-rate", "4M", path="/file")
    assert done.code == 0, done.errors
    assert sha256(done.output).hexdigest() == FILE_DIGEST


async def test_a_part_of_a_file_is_that_part(front: Front) -> None:
    done = await curl(front, "--range", "1000-1999", "--write-out", "%{stderr}%{http_code}", path="/file")
    assert (done.output, done.errors) == (FILE[1000:2000], "206")


async def test_a_broken_download_is_resumed(front: Front, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(FILE[: len(FILE) // 3])
    done = await curl(front, "--continue-at", "-", "--output", str(tmp_path / "file"), path="/file")
    assert done.text == ""
    assert (tmp_path / "file").read_bytes() == FILE


async def test_two_urls_take_one_connection(front: Front) -> None:
    first = f"https://{APP}:{front.port('secure')}/version"
    done = await curl(front, "--write-out", " %{num_connects}\n", first, path="/version")
    assert done.text == "v1 1\nv1 0\n"


async def test_an_http_1_0_client_gets_a_chunked_answer_whole(front: Front) -> None:
    done = await curl(front, "--http1.0", "--verbose", path="/pieces")
    assert done.text == b"".join(PIECES).decode()
    assert "transfer-encoding" not in done.errors.lower()


async def test_a_client_with_its_certificate_is_let_in(front: Front) -> None:
    own = ("--cert", front.client.cert, "--key", front.client.key)
    assert (await curl(front, *own, listener="mutual", path="/version")).text == "v1"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("own", ["none", "foreign"])
async def test_a_client_without_its_certificate_is_not(front: Front, own: str, version: str) -> None:
    foreign = ("--cert", front.certificate.cert, "--key", front.certificate.key)
    done = await curl(
        front,
        *("--tls-max", version, *(foreign if own == "foreign" else ())),
        listener="mutual",
        path="/version",
    )
    # With TLS 1.3, a client has ended its handshake before it can be told.
    assert done.code == (NO_HANDSHAKE if version == "1.2" else NOT_RECEIVED), done
    assert "alert" in done.errors
    assert done.output == b""


async def test_a_proxy_header_comes_before_the_handshake(front: Front) -> None:
    done = await curl(front, "--haproxy-protocol", listener="balanced", path="/about")
    assert json.loads(done.text)["fields"]["x-forwarded-for"] == "127.0.0.1"


async def test_without_the_header_that_is_expected_there_is_no_handshake(front: Front) -> None:
    assert (await curl(front, listener="balanced")).code == NO_HANDSHAKE


async def test_a_unix_socket_speaks_tls_too(front: Front) -> None:
    assert (await curl(front, listener="local", path="/version")).text == "v1"
