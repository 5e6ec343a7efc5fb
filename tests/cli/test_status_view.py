from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from bgproxy.cli.rates import Rate
from bgproxy.cli.status_view import status_view

from .examples import NOW, pool, responses, service, status, upstream


def shown(answer: dict[str, Any], rates: dict[tuple[str, str], Rate] | None = None) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=200, highlight=False).print(status_view(answer, NOW, rates))
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_the_pools_stand_side_by_side_with_role_version_health_and_traffic() -> None:
    lines = shown(status())
    assert "blue green" in lines
    assert "role ACTIVE idle" in lines
    assert "version v1 v2" in lines
    assert "in flight 3 0" in lines
    assert "requests 1,234 0" in lines
    assert "p50 / p99 1.2 ms / 9.1 ms – / –" in lines  # noqa: RUF001
    assert "safe to stop no yes" in lines
    assert (
        "upstreams ● 127.0.0.1:8001 healthy 3 min status 200 1 in flight"
        " ✗ [::1]:8003 unhealthy 3 min connection refused"
    ) in lines
    assert "● 127.0.0.1:8002 weight 2 healthy 3 min status 200 1 in flight" in lines


def test_the_instance_says_its_generation_and_whether_every_worker_is_on_it() -> None:
    lines = shown(status())
    assert lines[0] == "bgproxy 0.1.0 generation 2 controller up 2 h"
    assert lines[1] == "workers 2 serving, 34 connections, 0 parked"
    assert shown(status(compiled=True))[0].startswith("bgproxy 0.1.0 (compiled) generation")
    late = status()
    late["workers"][1] |= {"current": False, "state": "draining"}
    assert (
        shown(late)[1]
        == "workers 1 serving, 1 draining, 34 connections, 0 parked, not yet on the newest snapshot: 4"
    )


def test_a_canary_has_a_bar_and_gives_the_idle_pool_its_role() -> None:
    lines = shown(status(service(canary={"weight": 10, "match": [], "salt": "s"})))
    assert "██░░░░░░░░░░░░░░░░░░ canary 10 % to green" in lines
    assert "role ACTIVE canary 10 %" in lines


def test_hold_drain_and_own_errors_are_shown_while_there_are_any() -> None:
    hold = {"id": 7, "until": NOW + 5, "parked": 3, "parked_bytes": 0}
    drain = {"pool": "green", "until": NOW + 12, "in_flight": 2, "tunnels": 0, "safe_to_stop": False}
    lines = "\n".join(shown(status(service(hold=hold, drain=drain, proxy_errors=4))))
    assert "hold: 3 requests parked until" in lines
    assert "5 s left" in lines
    assert "drain green: 2 in flight, 0 upgraded connections, 12 s left" in lines
    assert "role ACTIVE idle, draining" in lines
    assert "4 errors of bgproxy's own" in lines


def test_a_maintenance_and_a_queue_are_shown_while_they_last() -> None:
    maintenance = {"retry_after": 60, "reason": "moving\x1b[2J"}
    lines = shown(status(service(maintenance=maintenance, queued=3)))
    assert 'maintenance: 503, retry after 60 s, "moving�[2J"' in lines
    assert "3 requests queued: upstreams are busy" in lines
    quiet = "\n".join(shown(status(service(maintenance=None, queued=0))))
    assert "maintenance" not in quiet
    assert "queued" not in quiet


def test_an_upstream_that_is_ejected_says_by_how_many_workers() -> None:
    pools = {"blue": pool(upstream("b:1", ejected=1, ejections=7)), "green": pool()}
    lines = "\n".join(shown(status(service(pools=pools))))
    assert "● b:1 healthy, ejected by 1 of 2 workers 3 min" in lines
    assert "ejected" not in "\n".join(shown(status()))


def test_an_idle_pool_says_what_keeps_it_from_being_stopped_if_it_is_not_seen_elsewhere() -> None:
    lines = shown(status(service(pools={"blue": pool(), "green": pool(role="idle", idle_connections=1)})))
    assert "safe to stop no no, 1 idle connection" in lines


def test_errors_are_a_number_and_a_share() -> None:
    pools = {"blue": pool(upstream("b:1"), **responses(1000, 5)), "green": pool()}
    lines = shown(status(service(pools=pools)))
    assert "errors 5 0.5 % 0" in lines
    assert any(line.startswith("upstreams ● b:1") and line.endswith("none") for line in lines)


def test_with_rates_the_share_that_arrived_has_a_bar_for_each_pool() -> None:
    rates = {("web", "blue"): Rate(90.2, 0.0, 0.9), ("web", "green"): Rate(10.1, 0.2, 0.1)}
    lines = shown(status(), rates)
    assert "now 90 req/s 10 req/s" in lines
    assert "errors now 0 % 20 %" in lines
    assert "share now ██████████████████░░ 90.0 % ██░░░░░░░░░░░░░░░░░░ 10.0 %" in lines
    assert "now – –" in shown(status(), {})  # noqa: RUF001


def test_markup_in_foreign_text_is_text() -> None:
    pools = {"blue": pool(upstream("b:1", reason="[red]boom[/]")), "green": pool()}
    assert "[red]boom[/]" in "\n".join(shown(status(service(pools=pools))))
