from __future__ import annotations

import pytest
import yaml

from bgproxy.config.document import dotted
from bgproxy.config.relations import check, did_you_mean

POOLS = "pools: {blue: {}, green: {}}"


def findings(text: str) -> dict[str, str]:
    return {dotted(location): message for location, message in check(yaml.safe_load(text))}


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (
            "listeners: [{name: a, bind: 'h:1'}, {name: a, bind: 'h:2'}]",
            "listeners[1].name",
            "name of a listener above",
        ),
        (
            "listeners: [{name: a, bind: 'h:1'}, {name: b, bind: 'H:1'}]",
            "listeners[1].bind",
            "already bound by listeners[0]",
        ),
        (
            "{listeners: [{name: a, bind: '127.0.0.1:1'}], admin: {bind: '127.0.0.1:1'}}",
            "admin.bind",
            "already bound by listeners[0]",
        ),
        ("admin: {bind: '0.0.0.0:1'}", "admin.bind", "without tokens whoever reaches it can move traffic"),
        (
            "admin: {bind: 'proxy.example.com:1', tokens: []}",
            "admin.bind",
            "bind it to 127.0.0.1 or unix:/path",
        ),
        ("admin: {tokens: [{name: a}]}", "admin.tokens[0]", "needs `token_env` or `token_file`"),
        (
            "admin: {tokens: [{token_env: A, token_file: b}]}",
            "admin.tokens[0].token_file",
            "together with `token_env`",
        ),
        (
            "admin: {tokens: [{name: a, token_env: A}, {name: a, token_env: B}]}",
            "admin.tokens[1].name",
            "history could not tell them apart",
        ),
        ("state: {backend: memory, path: /x}", "state.path", "memory keeps no file"),
        (
            f"services: {{web: {{active: gren, {POOLS}}}}}",
            "services.web.active",
            "not a pool of this service: did you mean `green`?",
        ),
        (
            "services: {web: {pools: {a: {}, b: {}, c: {}}}}",
            "services.web.pools",
            "has 3 entries instead of 2",
        ),
        (
            "services: {web: {pools: {green: {}, blue: {upstreams: ['a:1', {address: 'A:1'}]}}}}",
            "services.web.pools.blue.upstreams[1]",
            "already in this pool",
        ),
        (
            "services: {web: {health: {kind: tcp, path: /}}}",
            "services.web.health.path",
            "belongs to kind: http, this check is kind: tcp",
        ),
        (
            "services: {web: {health: {command: [x]}}}",
            "services.web.health.command",
            "belongs to kind: command",
        ),
        ("services: {web: {health: {kind: command}}}", "services.web.health", "without one"),
        ("services: {web: {sticky: {ttl: 1h}}}", "services.web.sticky", "needs `cookie` or `header`"),
        (
            "services: {web: {sticky: {cookie: a, header: b}}}",
            "services.web.sticky.header",
            "together with `cookie`",
        ),
        (
            "services: {web: {preview: {header: {name: X}}}}",
            "services.web.preview.header",
            "needs `value_env` or `value_file`",
        ),
        ("services: {a: {}, b: {}}", "services.b.paths[0]", "for any host leads to services.a already"),
        ("services: {a: {}, b: {paths: [/x, /]}}", "services.b.paths[1]", "leads to services.a already"),
        (
            "services: {a: {hosts: [h, i]}, b: {hosts: [g, I]}}",
            "services.b.hosts[1]",
            "'I' with path '/' leads to services.a already",
        ),
        ("services: {a: {hosts: [h, H]}}", "services.a.hosts[1]", "written twice"),
        ("services: {a: {paths: [/x, /x]}}", "services.a.paths[1]", "written twice"),
        (
            "services: {a: {hosts: [h]}, b: {hosts: [i], preview: {hosts: [H]}}}",
            "services.b.preview.hosts[0]",
            "live host of services.a",
        ),
        (
            "services: {a: {hosts: [h], preview: {hosts: [p]}}, b: {hosts: [i], preview: {hosts: [p]}}}",
            "services.b.preview.hosts[0]",
            "already a preview host of services.a",
        ),
        ("{services: {web: {}}, groups: {g: [wev]}}", "groups.g[0]", "did you mean `web`?"),
        ("{services: {web: {}}, groups: {g: [web, web]}}", "groups.g[1]", "written twice"),
        ("{services: {web: {}}, groups: {g: [web], h: [web]}}", "groups.h[0]", "already in groups.g"),
    ],
)
def test_settings_that_do_not_fit_together_are_found(text: str, path: str, said: str) -> None:
    ((found, message),) = findings(text).items()
    assert found == path
    assert said in message


@pytest.mark.parametrize(
    "text",
    [
        "listeners: [{name: a, bind: '0.0.0.0:80'}, {name: b, bind: '127.0.0.1:80'}]",
        "listeners: [{name: a, bind: '127.0.0.1:0'}, {name: b, bind: '127.0.0.1:0'}]",
        "admin: {bind: 'unix:/run/a.sock'}",
        "admin: {bind: '[::1]:9900'}",
        "admin: {bind: '0.0.0.0:9900', tokens: [{name: a, token_env: A}]}",
        "services: {web: {pools: {blue: {upstreams: ['a:1']}, green: {upstreams: ['a:1']}}}}",
        "services: {a: {}, b: {hosts: [h]}, c: {hosts: [h], paths: [/c]}}",
        "services: {a: {hosts: ['*.h']}, b: {hosts: [x.h], preview: {hosts: [p.h]}}}",
        "{services: {a: {}}, groups: {g: [a]}}",
    ],
)
def test_settings_that_fit_together_are_left_alone(text: str) -> None:
    assert findings(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "[]",
        "{services: 1, groups: 1, admin: 1, listeners: 1, state: 1}",
        "{services: {a: 1, b: {hosts: 1, paths: 1, pools: 1, health: 1, sticky: 1, preview: 1}}}",
        "{services: {a: {hosts: [1], paths: [1], preview: {hosts: [1], header: 1}, pools: {x: {upstreams: [1]}}}}}",
        "{groups: {a: [1, {}]}, listeners: [1, {bind: 1, name: 1}], admin: {tokens: [1, {name: []}]}}",
    ],
)
def test_what_has_the_wrong_shape_is_left_to_the_schema(text: str) -> None:
    list(check(yaml.safe_load(text)))


def test_a_word_that_resembles_nothing_gets_the_list_of_what_there_is() -> None:
    assert did_you_mean("zzz", ["blue", "green"]) == "known here: blue, green"
