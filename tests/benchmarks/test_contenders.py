import http.client
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

import benchmarks
from benchmarks import contenders, cpu_time
from benchmarks.contenders import (
    FIELD,
    PROGRAMS,
    Backend,
    Contender,
    ContenderError,
    Place,
    Program,
    bgproxy_yaml,
    naive_proxy,
    process,
    same_work,
)
from benchmarks.scenarios import SERVICES, UPSTREAMS, Setting, host
from bgproxy.config.load import load

ABLE = [(program, setting) for program in FIELD for setting in Setting if setting not in program.cannot]


def a_place(directory: Path, setting: Setting, *, port: int = 8080, green: int = 8002) -> Place:
    return Place(directory, port, 9900, setting, Backend(8001, green, 8003, directory), workers=1)


def written(program: Program, place: Place) -> str:
    """All that a program is told: its command line and its files."""
    command = program.write(place)
    files = [path.read_text() for path in place.directory.iterdir() if path.is_file()]
    return "\n".join([*command, *files])


@pytest.fixture(autouse=True)
def nginx_is_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.contenders.behind.find", lambda name: f"/usr/sbin/{name}")


@pytest.mark.parametrize(("program", "setting"), ABLE, ids=lambda each: getattr(each, "name", None))
def test_whoever_can_do_something_is_told_to(program: Program, setting: Setting, tmp_path: Path) -> None:
    place = a_place(tmp_path, setting)
    text = written(program, place)
    assert str(place.port) in text
    match setting:
        case Setting.UPSTREAMS:
            assert sum(text.count(address.partition(":")[0]) > 0 for address in place.blue) == UPSTREAMS
        case Setting.SERVICES:
            assert all(host(number) in text for number in range(SERVICES))
        case Setting.TLS:
            assert str(tmp_path / "certificate") in text
        case Setting.WEBSOCKET:
            assert "8003" in text
        case Setting.ACCESS_LOG:
            assert str(place.access_log) in text or program.log != place.access_log.name
            assert "access_log off" not in text  # nginx obeys it, whatever else is said on the same level
        case Setting.CANARY | Setting.STICKY:
            assert "8002" in text


@pytest.mark.parametrize("setting", Setting)
def test_the_configurations_that_bgproxy_is_measured_with_are_valid(setting: Setting, tmp_path: Path) -> None:
    place = a_place(tmp_path, setting)
    configured = bgproxy_yaml.config(place)
    configured["listeners"][0].pop("tls", None)  # its files are not there
    path = tmp_path / "bgproxy.yaml"
    path.write_text(yaml.safe_dump(configured))
    config = load(path)
    assert config.workers == 1
    assert len(config.services) == (SERVICES if setting is Setting.SERVICES else 1)
    assert all(service.health.path == "/health" for service in config.services.values())


@pytest.mark.parametrize("name", ["envoy", "traefik"])
@pytest.mark.parametrize("setting", Setting)
def test_what_is_yaml_can_be_read_as_yaml(name: str, setting: Setting, tmp_path: Path) -> None:
    PROGRAMS[name].write(a_place(tmp_path, setting))
    for path in tmp_path.glob("*.yaml"):
        assert isinstance(json.loads(path.read_text()), dict)


@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddy"])
@pytest.mark.parametrize("setting", Setting)
def test_blocks_that_are_opened_are_closed(name: str, setting: Setting, tmp_path: Path) -> None:
    text = written(PROGRAMS[name], a_place(tmp_path, setting))
    assert text.count("{") == text.count("}")


def test_the_configuration_for_locust_is_valid_and_names_the_versions() -> None:
    config = load(Path(benchmarks.__path__[0]) / "locust.yaml")
    assert {name: pool.version for name, pool in config.services["web"].pools.items()} == {
        "blue": "v1",
        "green": "v2",
    }


def test_a_process_that_was_replaced_makes_a_round_worthless(monkeypatch: pytest.MonkeyPatch) -> None:
    contender = Contender("bgproxy", 1, 8080, 10, frozenset({10, 11, 12}), frozenset({12}))
    monkeypatch.setattr(cpu_time, "tree", lambda root: {10, 11, 12})
    contender.check_whole()
    monkeypatch.setattr(cpu_time, "tree", lambda root: {10, 11, 13})
    with pytest.raises(ContenderError, match=r"\[10, 11, 12\] and now has \[10, 11, 13\]"):
        contender.check_whole()


def test_a_program_that_is_missing_is_told_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.contenders.serving.find", lambda name: None)
    started = contenders.contender(PROGRAMS["caddy"], Backend(1, 2, 3, tmp_path), tmp_path / "caddy", {0})
    with pytest.raises(ContenderError, match="caddy is not installed: `pip install"), started:
        pass


def test_a_program_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such option; exit 3"]
    with (
        process.started("it", command, tmp_path, {0}) as child,
        pytest.raises(ContenderError, match=r"ended with 3:\nno such option"),
    ):
        process.until(lambda: False, child, tmp_path)


# What a proxy has to have done, seen from a backend


@contextmanager
def proxied(tell: Callable[[BaseHTTPRequestHandler, int], dict[str, Any]], **headers: str) -> Iterator[int]:
    """A proxy and its backend in one: what the latter would have been told."""
    count = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 8192  # head and body in one segment

        def do_GET(self) -> None:
            body = json.dumps(tell(self, next(count))).encode()
            self.send_response(http.client.OK)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def told(request: BaseHTTPRequestHandler, number: int) -> dict[str, Any]:
    return {
        "host": request.headers["Host"],
        "for": "127.0.0.1",
        "proto": "http",
        "port": 8002 if number % 10 == 9 else 8001,
        "before": number + 1,
    }


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, None),
        ({"host": "127.0.0.1:8001"}, "tells the backend host '127.0.0.1:8001'"),
        ({"for": ""}, "tells the backend for ''"),
        ({"proto": "https"}, "tells the backend proto 'https' instead of 'http'"),
        ({"before": 1}, "opens a connection to the backend for each request"),
        ({"port": 8001}, "sent 0 of 200 requests to the canary"),
    ],
)
def test_a_proxy_that_does_less_than_the_others_is_not_measured(
    fault: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    with proxied(lambda request, number: told(request, number) | fault) as port:
        place = a_place(tmp_path, Setting.CANARY, port=port)
        if words is None:
            assert same_work.check("it", place) == ()
        else:
            with pytest.raises(ContenderError, match=words):
                same_work.check("it", place)


def test_the_cookies_of_a_sticky_canary_are_those_that_lead_back(tmp_path: Path) -> None:
    """This one sends the second two hundred requests where the first went."""

    def tell(request: BaseHTTPRequestHandler, number: int) -> dict[str, Any]:
        return told(request, number % same_work.ASKED)

    with proxied(tell, Set_Cookie="side=a; Path=/; HttpOnly") as port:
        cookies = same_work.check("it", a_place(tmp_path, Setting.STICKY, port=port))
    assert cookies == ("side=a",) * same_work.ASKED


def test_a_canary_that_moves_its_clients_is_not_sticky(tmp_path: Path) -> None:
    def tell(request: BaseHTTPRequestHandler, number: int) -> dict[str, Any]:
        return told(request, number + number // same_work.ASKED)

    with (
        proxied(tell, Set_Cookie="side=a") as port,
        pytest.raises(ContenderError, match="does not keep a client with the cookie 'side=a'"),
    ):
        same_work.check("it", a_place(tmp_path, Setting.STICKY, port=port))


def test_an_access_log_counts_when_it_has_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    assert not same_work.is_logged(path)
    path.write_text('{"uri":"/health"}\n')
    assert not same_work.is_logged(path)
    path.write_text('{"uri":"/health"}\n{"uri":"/told"}\n')
    assert same_work.is_logged(path)


# The baseline


@pytest.fixture
async def behind_naive() -> AsyncIterator[str]:
    """The address of a naive proxy whose backend says what it got."""

    async def say(request: web.Request) -> web.Response:
        body = await request.text()
        return web.json_response({"headers": dict(request.headers), "path": request.path_qs, "body": body})

    backend = web.Application()
    backend.router.add_route("*", "/{path:.*}", say)
    async with TestServer(backend) as upstream:
        app = naive_proxy.build(f"127.0.0.1:{upstream.port}")
        async with TestServer(app) as proxy:
            yield f"http://127.0.0.1:{proxy.port}"


async def test_the_naive_proxy_relays_both_bodies_and_tells_who_asked(behind_naive: str) -> None:
    headers = {"Host": "shop.test", "X-Forwarded-For": "192.0.2.1", "Keep-Alive": "timeout=5"}
    async with (
        ClientSession() as client,
        client.post(f"{behind_naive}/a?b=c", data="body", headers=headers) as answer,
    ):
        said = await answer.json()
    assert (said["path"], said["body"]) == ("/a?b=c", "body")
    assert said["headers"]["Host"] == "shop.test"
    assert said["headers"]["X-Forwarded-For"] == "192.0.2.1, 127.0.0.1"
    assert said["headers"]["X-Forwarded-Proto"] == "http"
    assert "Keep-Alive" not in said["headers"]
