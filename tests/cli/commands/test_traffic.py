from __future__ import annotations

import json

import pytest

from bgproxy.cli.wording import clock
from tests.cli.admin import Admin
from tests.cli.conftest import Run
from tests.cli.examples import NOW, SWITCHED, service, status


def test_a_switch_says_what_moved(admin: Admin, run: Run) -> None:
    admin.says("POST /admin/switch", SWITCHED)
    result = run("switch")
    assert (result.exit_code, result.stdout) == (0, "web: blue → green  generation 12  1.8 ms\n")
    assert admin.last.body == {}


def test_a_switch_sends_what_it_was_told(admin: Admin, run: Run) -> None:
    admin.says("POST /admin/switch", SWITCHED)
    run(
        "switch",
        "web",
        "--to",
        "green",
        "--force",
        "--hold",
        "5s",
        "--reason",
        "why",
        "--if-generation",
        "11",
    )
    assert admin.last.body == {
        "service": "web",
        "to": "green",
        "force": True,
        "hold": "5s",
        "reason": "why",
        "if_generation": 11,
    }


def test_a_group_switches_as_one_act(admin: Admin, run: Run) -> None:
    admin.says("POST /admin/switch", SWITCHED)
    run("switch", "--group", "shop")
    assert admin.last.body == {"group": "shop"}


@pytest.mark.parametrize("command", ["switch", "rollback", "hold", "release-hold"])
def test_a_service_and_a_group_at_once_are_bad_usage(admin: Admin, run: Run, command: str) -> None:
    result = run(command, "web", "--group", "shop")
    assert result.exit_code == 2
    assert "not both" in result.stderr
    assert admin.calls == []


def test_an_unhealthy_target_is_explained_with_what_to_do(admin: Admin, run: Run) -> None:
    down = {"service": "web", "pool": "green", "upstream": "g:1", "health": "unhealthy", "reason": "refused"}
    admin.refuses(
        "POST /admin/switch", 409, "The target pool is not healthy", "1 of 1 is down", upstreams=[down]
    )
    result = run("switch")
    assert result.exit_code == 1
    assert "web/green  g:1  unhealthy  refused" in result.stderr
    assert "--force" in result.stderr


@pytest.mark.parametrize(("allowed", "code"), [(True, 0), (False, 1)])
def test_a_dry_run_exits_as_the_change_would(admin: Admin, run: Run, allowed: bool, code: int) -> None:
    answer = {
        "dry_run": True,
        "would": "switch",
        "allowed": allowed,
        "refusal": None if allowed else "green is not healthy",
        "generation": 1,
        "service": "web",
        "from": "blue",
        "to": "green",
    }
    admin.says("POST /admin/switch", answer)
    result = run("switch", "--dry-run")
    assert admin.last.body == {"dry_run": True}
    assert result.exit_code == code
    assert result.stdout.startswith("would switch web: blue → green\n")
    assert run("switch", "--dry-run", "-o", "json").exit_code == code


def test_a_rollback_goes_back(admin: Admin, run: Run) -> None:
    admin.says("POST /admin/rollback", {**SWITCHED, "from": "green", "to": "blue", "services": []})
    assert run("rollback", "web", "--reason", "errors").stdout == "web: green → blue  generation 12  1.8 ms\n"
    assert admin.last.body == {"service": "web", "reason": "errors"}


def test_a_canary_has_a_weight_and_rules(admin: Admin, run: Run) -> None:
    rules = [
        {"header": "x-canary", "value": "1"},
        {"cookie": "beta", "value": "y"},
        {"query": "v", "value": "2"},
    ]
    canary = {"weight": 10, "match": rules, "salt": "s"}
    admin.says(
        "PUT /admin/canary", {"generation": 3, "service": "web", "canary": canary, "milliseconds": 1.0}
    )
    result = run(
        *("canary", "web", "--weight", "10"),
        *("--header", "x-canary=1", "--cookie", "beta=y", "--query", "v=2"),
    )
    assert admin.last.body == {"service": "web", "weight": 10, "match": rules}
    assert result.stdout == (
        "web: canary 10 % and header x-canary=1 and cookie beta=y and query v=2  generation 3  1.0 ms\n"
    )


def test_a_forced_canary_says_so_to_the_admin_api(admin: Admin, run: Run) -> None:
    canary = {"weight": 1, "match": [], "salt": "s"}
    admin.says("PUT /admin/canary", {"generation": 3, "service": "web", "canary": canary})
    run("canary", "--weight", "1", "--force")
    assert admin.last.body == {"weight": 1, "match": [], "force": True}


def test_a_canary_ends(admin: Admin, run: Run) -> None:
    admin.says(
        "DELETE /admin/canary", {"generation": 4, "service": "web", "canary": None, "milliseconds": 1.0}
    )
    assert run("canary", "--off").stdout == "web: no canary  generation 4  1.0 ms\n"
    assert admin.last.body == {}


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "or --off to end it"),
        (["--off", "--weight", "5"], "not both"),
        (["--weight", "101"], "not in the range"),
        (["--header", "x"], "no name and value"),
    ],
)
def test_a_canary_that_makes_no_sense_is_bad_usage(
    admin: Admin, run: Run, arguments: list[str], what: str
) -> None:
    result = run("canary", *arguments)
    assert result.exit_code == 2
    assert what in " ".join(result.stderr.split())
    assert admin.calls == []


def test_a_maintenance_says_what_clients_get(admin: Admin, run: Run) -> None:
    told = {"retry_after": 600, "reason": "moving"}
    admin.says(
        "PUT /admin/maintenance",
        {"generation": 3, "service": "web", "services": ["web"], "maintenance": told},
    )
    result = run(
        "maintenance", "on", "web", "--retry-after", "10m", "--reason", "moving", "--if-generation", "2"
    )
    assert admin.last.body == {
        "service": "web",
        "retry_after": "10m",
        "reason": "moving",
        "if_generation": 2,
    }
    assert result.stdout == 'web: maintenance: 503, retry after 600 s, "moving"  generation 3\n'


def test_a_maintenance_of_a_group_ends(admin: Admin, run: Run) -> None:
    answer = {"generation": 4, "service": None, "services": ["web", "api"], "maintenance": None}
    admin.says("DELETE /admin/maintenance", answer)
    result = run("maintenance", "off", "--group", "shop", "--reason", "done")
    assert admin.last.body == {"group": "shop", "reason": "done"}
    assert result.stdout == "web, api: no maintenance  generation 4\n"


def test_a_maintenance_needs_nothing_said(admin: Admin, run: Run) -> None:
    told = {"retry_after": 60, "reason": ""}
    admin.says("PUT /admin/maintenance", {"generation": 3, "service": "web", "maintenance": told})
    assert run("maintenance", "on").stdout == "web: maintenance: 503, retry after 60 s  generation 3\n"
    assert admin.last.body == {"retry_after": "60s"}
    assert run("maintenance", "on", "--retry-after", "never").exit_code == 2


def test_a_hold_says_when_it_ends_by_itself(admin: Admin, run: Run) -> None:
    admin.says("POST /admin/hold", {"hold": 7, "service": "web", "until": NOW, "generation": 5})
    result = run("hold", "--max-requests", "100", "--max-bytes", "8MiB")
    assert admin.last.body == {"timeout": "10s", "max_requests": 100, "max_bytes": "8MiB"}
    assert result.stdout == (
        f"web: new requests are held until {clock(NOW)} at the latest; `bgproxy release-hold` ends it  generation 5\n"
    )


def test_a_released_hold_says_how_many_went_on(admin: Admin, run: Run) -> None:
    admin.says("POST /admin/release-hold", {"service": "web", "released": 12, "generation": 6})
    assert run("release-hold", "web").stdout == "web: 12 held requests released  generation 6\n"


def test_a_drain_finds_the_only_service_by_itself(admin: Admin, run: Run) -> None:
    admin.says("GET /admin/status", status())
    admin.says("POST /admin/services/web/drain", {"service": "web", "pool": "blue", "generation": 7})
    assert run("drain").stdout == "web: upgraded connections of blue are closed now  generation 7\n"


def test_a_drain_asks_which_of_several_services(admin: Admin, run: Run) -> None:
    admin.says("GET /admin/status", status(service("web"), service("api")))
    result = run("drain")
    assert result.exit_code == 2
    assert "there are 2: web, api" in result.stderr


def test_a_pool_is_replaced(admin: Admin, run: Run) -> None:
    admin.says("PUT /admin/services/web/pools/green", {"generation": 8, "service": "web", "pool": "green"})
    result = run(
        *("pool", "set", "web", "green", "--version", "v2"),
        *("--upstream", "10.0.0.3:80", "--upstream", "10.0.0.4:80=2"),
    )
    assert admin.last.body == {
        "version": "v2",
        "upstreams": [{"address": "10.0.0.3:80", "weight": 1}, {"address": "10.0.0.4:80", "weight": 2}],
    }
    assert result.stdout == "web: pool green replaced  generation 8\n"


def test_a_name_cannot_lead_to_another_call(admin: Admin, run: Run) -> None:
    run("pool", "set", "../x", "a/b", "--upstream", "10.0.0.3:80")
    assert admin.last.path == "/admin/services/..%2Fx/pools/a%2Fb"


def test_for_scripts_every_answer_is_as_the_admin_api_gave_it(admin: Admin, run: Run) -> None:
    answer = {"service": "web", "released": 12, "generation": 6, "later": ["versions", "may", "add"]}
    admin.says("POST /admin/release-hold", answer)
    assert json.loads(run("release-hold", "-o", "json").stdout) == answer
