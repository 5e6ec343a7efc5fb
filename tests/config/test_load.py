from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bgproxy.config.load import load, parse
from bgproxy.errors import ConfigError
from bgproxy.model import Config

EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))
SECRET = "hunter2-hunter2-hunter2"
ENVIRON = {"BGPROXY_TOKEN": SECRET, "PREVIEW_SECRET": SECRET, "SECRET": SECRET, "SHORT": "hunter2"}
GOOD = "services: {web: {pools: {blue: {}, green: {}}}}\n"


def parsed(text: str) -> Config:
    return parse(text, source="f", base=Path("/nowhere"), environ=ENVIRON)


def problems(text: str) -> list[tuple[int | None, str, str]]:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return [(problem.line, problem.path, problem.message) for problem in caught.value.problems]


def web(settings: str) -> str:
    return f"services:\n  web:\n    pools: {{blue: {{}}, green: {{}}}}\n    {settings}\n"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_loads_and_says_who_it_is_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    assert load(path).services
    assert path.read_text().startswith("# For ")


def test_the_examples_are_there() -> None:
    assert {"minimal", "two-vms", "canary-sticky", "several-services", "sidecar"} <= {
        path.stem for path in EXAMPLES
    }


def test_all_errors_are_reported_at_once_in_the_order_of_their_lines() -> None:
    text = """\
workers: 0
listener: []
services:
  web:
    active: red
    pools: {blue: {}, green: {}}
    health:
      intervall: 2s
      timeout: 1
  api:
    hosts: ["${GONE}"]
groups:
  shop: [wob]
"""
    found = problems(text)
    assert [(line, path) for line, path, _ in found] == [
        (1, "workers"),
        (2, "listener"),
        (5, "services.web.active"),
        (8, "services.web.health.intervall"),
        (9, "services.web.health.timeout"),
        (10, "services.api.pools"),
        (11, "services.api.hosts[0]"),
        (13, "groups.shop[0]"),
    ]
    said = {path: message for _, path, message in found}
    assert said["listener"] == "unknown key; did you mean `listeners`?"
    assert said["services.web.health.intervall"] == "unknown key; did you mean `interval`?"
    assert said["services.web.health.timeout"].startswith("'1' is not a duration: write a number and a unit")
    assert said["services.api.pools"].startswith("is missing, and has no default. Exactly two")


@pytest.mark.parametrize(
    ("text", "line", "path", "said"),
    [
        ("", None, "services", "is missing"),
        ("[]", 1, "", "has to be a mapping"),
        ("services: {web: }", 1, "services.web.pools", "is missing"),
        ("services: {}", 1, "services", "too few entries: 0 instead of 1"),
        ("services: {a b: {pools: {c: {}, d: {}}}}", 1, "services.'a b'", "'a b' is not a name"),
        ("services: {web: {pools: {blue: {}}}}", 1, "services.web.pools", "too few entries: 1 instead of 2"),
        (
            "services: {web: {pools: {a: {}, b: {}, c: {}}}}",
            1,
            "services.web.pools",
            "too many entries: 3 instead of 2",
        ),
        (
            "services: {web: {pools: {a: {version: 1.10}, b: {}}}}",
            1,
            "services.web.pools.a.version",
            "put it in quotes",
        ),
        (
            "services: {web: {pools: {a: {upstreams: [h]}, b: {}}}}",
            1,
            "services.web.pools.a.upstreams[0]",
            "'h' has no port",
        ),
        (
            "services: {web: {pools: {a: {upstreams: ['h:0']}, b: {}}}}",
            1,
            "services.web.pools.a.upstreams[0]",
            "1 to 65535",
        ),
        (
            "services: {web: {pools: {a: {upstreams: [{weight: 1}]}, b: {}}}}",
            1,
            "services.web.pools.a.upstreams[0].address",
            "is missing",
        ),
        (
            "services: {web: {pools: {a: {upstreams: [{address: 'h:1', weight: 1001}]}, b: {}}}}",
            1,
            "services.web.pools.a.upstreams[0].weight",
            "at most 1000",
        ),
        (GOOD + "workers: 1.5", 2, "workers", "write auto, or a number"),
        (GOOD + "workers: true", 2, "workers", "write auto, or a number"),
        (GOOD + "listeners: []", 2, "listeners", "too few entries"),
        (GOOD + "listeners: {}", 2, "listeners", "has to be a list"),
        (GOOD + "listeners: [{name: a, bind: 'h:1', preview: 1}]", 2, "listeners[0].preview", "true or false"),
        (GOOD + "engine: {kind: nginx}", 2, "engine.kind", "has to be 'embedded'"),
        (GOOD + "state: {backend: etcd}", 2, "state.backend", "has to be 'sqlite' or 'memory'"),
        (GOOD + "state: {path: ''}", 2, "state.path", "is empty"),
        (GOOD + "admin: {tokens: [{name: a, role: root, token_env: SECRET}]}", 2, "admin.tokens[0].role", "'viewer', 'operator' or 'admin'"),
        (GOOD + "admin: {tokens: [{name: a, role: admin, token_env: SHORT}]}", 2, "admin.tokens[0].token_env", "less than 16 characters"),
        (GOOD + "admin: {tokens: [{name: a, role: admin, token_file: gone}]}", 2, "admin.tokens[0].token_file", "No such file"),
        (GOOD + "admin: {hosts: ['a:1']}", 2, "admin.hosts[0]", "is not a host name"),
        (web("hosts: ['*']"), 4, "services.web.hosts[0]", "for any host leave `hosts` out"),
        (web("hosts: ['a.*.b']"), 4, "services.web.hosts[0]", "is not a host name"),
        (web("hosts: ['http://a']"), 4, "services.web.hosts[0]", "without scheme"),
        (web("paths: [x]"), 4, "services.web.paths[0]", "start with /"),
        (web("paths: ['/a?b']"), 4, "services.web.paths[0]", "leave out query"),
        (web("paths: []"), 4, "services.web.paths", "too few entries"),
        (web("balance: luck"), 4, "services.web.balance", "'p2c' or 'hash'"),
        (web("when_unhealthy: x"), 4, "services.web.when_unhealthy", "'other_pool'"),
        (web("health: 5"), 4, "services.web.health", "has to be a mapping"),
        (web("health: {interval: never}"), 4, "services.web.health.interval", "cannot be never"),
        (web("health: {interval: 0s}"), 4, "services.web.health.interval", "longer than 0s"),
        (web("health: {interval: []}"), 4, "services.web.health.interval", "has to be a number with a unit"),
        (web("health: {healthy_after: 0}"), 4, "services.web.health.healthy_after", "at least 1"),
        (web("health: {healthy_after: x}"), 4, "services.web.health.healthy_after", "a whole number"),
        (web("health: {path: health}"), 4, "services.web.health.path", "start with /"),
        (web("health: {path: /a b}"), 4, "services.web.health.path", "start with /"),
        (web("health: {method: get}"), 4, "services.web.health.method", "in capitals"),
        (web("health: {host: 'a b'}"), 4, "services.web.health.host", "is not a Host header"),
        (web("health: {headers: {'a b': c}}"), 4, "services.web.health.headers.'a b'", "not a valid name"),
        (web('health: {headers: {a: "b\\r\\nc"}}'), 4, "services.web.health.headers.a", "line break"),
        (web('health: {headers: {a: "\\0"}}'), 4, "services.web.health.headers.a", "control character"),
        (web("health: {expect_status: [99]}"), 4, "services.web.health.expect_status[0]", "99 is not a status"),
        (web("health: {expect_status: ['300-200']}"), 4, "services.web.health.expect_status[0]", "not a status"),
        (web("health: {expect_status: [true]}"), 4, "services.web.health.expect_status[0]", "not a status"),
        (web("health: {expect_status: []}"), 4, "services.web.health.expect_status", "too few entries"),
        (web("health: {expect_body: '('}"), 4, "services.web.health.expect_body", "not a regular expression"),
        (web("health: {expect_body: '[[a]'}"), 4, "services.web.health.expect_body", "not a regular expression"),
        (web('health: {kind: command, command: ["\\0"]}'), 4, "services.web.health.command[0]", "NUL"),
        (web("sticky: {cookie: 'a;b'}"), 4, "services.web.sticky.cookie", "not a valid name"),
        (web("sticky: {cookie: a, ttl: never}"), 4, "services.web.sticky.ttl", "cannot be never"),
        (web("preview: {header: {name: X, value_env: GONE}}"), 4, "services.web.preview.header.value_env", "GONE"),
        (web("timeouts: {connect: 0ms}"), 4, "services.web.timeouts.connect", "longer than 0s"),
        (web("retries: {budget: 101%}"), 4, "services.web.retries.budget", "0% to 100%"),
        (web("retries: {budget: 0.2}"), 4, "services.web.retries.budget", "0% to 100%"),
        (web("retries: {attempts: 11}"), 4, "services.web.retries.attempts", "at most 10"),
        (web("colour: red"), 4, "services.web.colour", "unknown key; known here: hosts, paths"),
    ],
)  # fmt: skip
def test_each_error_has_its_line_its_path_and_its_remedy(
    text: str, line: int | None, path: str, said: str
) -> None:
    (problem,) = problems(text)
    assert problem[:2] == (line, path)
    assert said in problem[2]


def test_numbers_and_flags_may_come_from_variables() -> None:
    text = GOOD + "workers: ${N:-4}\nlisteners: [{name: a, bind: 'h:${P:-1}', preview: '${FLAG:-true}'}]"
    config = parsed(text)
    assert (config.workers, config.listeners[0].bind, config.listeners[0].preview) == (4, "h:1", True)


def test_workers_can_follow_the_machine() -> None:
    assert parsed(GOOD + "workers: auto").workers >= 1


def test_an_empty_block_means_its_defaults() -> None:
    assert parsed(web("health:")) == parsed(GOOD)


def test_a_file_with_a_byte_order_mark_loads(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load(path) == load(str(path))


def test_a_relative_state_path_starts_at_the_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(GOOD + "state: {path: state.db}")
    assert load(path).state_path == f"{tmp_path}/state.db"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"a: \xff", "f.yaml:1: is not UTF-8 text"),
        (b"a: 1\nb: [", "f.yaml:2: is not YAML"),
        (b" " * (1024 * 1024 + 1), "larger than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_understood_is_a_configuration_error(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "f.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(path)


@pytest.mark.parametrize(
    "text",
    [
        web("health: {interval: '${SECRET}'}"),
        web("health: {path: '${SECRET}'}"),
        web("health: {expect_status: ['${SECRET}']}"),
        web('health: {headers: {A: "${SECRET}\\r\\n"}}'),
        web("hosts: ['${SECRET}!']"),
        web("paths: ['${SECRET}']"),
        web("active: ${SECRET}"),
        web("preview: {header: {name: '${SECRET}:', value_env: '${SECRET}'}}"),
        GOOD + "workers: ${SECRET}",
        GOOD + "admin: {bind: '${SECRET}', tokens: [{name: '${SECRET}!', role: '${SECRET}', token_env: SHORT}]}",
        GOOD + "admin: {tokens: [{name: a, role: admin, token_env: '${SECRET}'}]}",
        GOOD + "groups: {g: ['${SECRET}']}",
    ],
)  # fmt: skip
def test_errors_show_variables_as_they_are_written_and_never_what_is_in_them(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert "hunter2" not in f"{caught.value}{caught.value!r}{caught.value.problems}"


def test_secrets_are_not_in_the_repr_of_a_configuration() -> None:
    text = GOOD + "admin: {tokens: [{name: a, role: admin, token_env: SECRET}]}"
    config = parsed(text)
    assert config.admin.tokens[0].secret == SECRET
    assert SECRET not in repr(config)


SCALARS = st.sampled_from(
    """
    5 -1 1.5 2s never 20% true null blue green web h:1 unix:/a /a ${SECRET} ${ ${GONE:-x} *.a a.b ( tcp command GET
    [ *a &a "\\0" "\\ud800" "\\U00110000" !a !!set
    """.split()  # noqa: SIM905 - thirty lines otherwise
)
KEYS = st.sampled_from(
    """
    services groups listeners admin workers state web pools blue green hosts paths health kind sticky preview header
    upstreams address tokens name << a active bind command headers expect_status expect_body budget value_file
    """.split()  # noqa: SIM905 - thirty lines otherwise
)
TREES = st.recursive(
    SCALARS | st.integers() | st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=5),
    max_leaves=30,
)


def flow(tree: object) -> str:
    """As YAML, loosely: text goes in as it is, so that it may break or change the structure."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {flow(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(flow, tree)) + "]"
    return str(tree)


@settings(max_examples=300, deadline=None)
@given(
    st.text() | TREES.map(flow) | TREES.map(lambda tree: f"services: {{web: {flow(tree)}}}") | TREES.map(repr)
)
@example("%YAML 1.9999999999999999999")
@example("%TAG ! %\n---\n!a b")
@example("? a")
@example("!")
@example("!<>")
@example('"\\x')
@example(web('health: {host: "\\ud800", expect_body: "\\ud800", headers: {A: "\\ud800"}}'))
@example(web("health: {expect_body: 'a{99999999999}'}"))
@example(web("health: {expect_body: '" + "(" * 3000 + "'}"))
@example(web('preview: {header: {name: A, value_file: "\\ud800"}}'))
@example(web("pools: &p {blue: *p, green: *p}"))
def test_any_text_loads_or_is_a_configuration_error(text: str) -> None:
    try:
        parsed(text)
    except ConfigError as error:
        str(error).encode()  # can be printed
