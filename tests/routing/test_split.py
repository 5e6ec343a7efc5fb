from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.http1.head import parse_request
from bgproxy.model import (
    Canary,
    Health,
    Hold,
    Limits,
    Maintenance,
    Match,
    Outlier,
    Preview,
    Retries,
    ServiceHeaders,
    Sticky,
    WhenUnhealthy,
)
from bgproxy.routing.balance import NO_LIMIT
from bgproxy.routing.cookie import cookie_value
from bgproxy.routing.split import BUCKETS, LiveService, bucket_of, matches, share_of
from tests.routing.snapshots import canary, live, live_service, pool, record, request
from tests.routing.snapshots import service as view_of

PLAIN = request()
SECRET = "open sesame"
COOKIE = Sticky(cookie="bg", ttl_s=60.0)
HEADER = Sticky(header="X-User")
SICK = pool("green", 1, health=Health.UNHEALTHY, first_tag=20)


def side(service: LiveService, *lines: str) -> str:
    """The pool that a request with these header lines gets."""
    return service.split(request(*lines))[0].name


def sides(service: LiveService, count: int) -> list[bool]:
    """True for each of so many requests that goes to the idle pool."""
    return [service.split(PLAIN)[0] is service.idle for _ in range(count)]


def visit(service: LiveService, held: str | None = None) -> tuple[str, str | None]:
    """The pool that a client with that cookie gets, and the cookie that it has then."""
    chosen, set_cookie = service.split(request(*([] if held is None else [f"Cookie: bg={held}"])))
    if not set_cookie:
        return chosen.name, held
    given_cookie = re.fullmatch(rb"bg=([^;]+); Path=/; Max-Age=60; HttpOnly; SameSite=Lax", set_cookie)
    assert given_cookie is not None, set_cookie
    return chosen.name, given_cookie[1].decode()


def newcomers(service: LiveService, count: int = BUCKETS) -> dict[str, str]:
    """The pools of so many new clients, by the cookie that each was given."""
    pools: dict[str, str] = {}
    for _ in range(count):
        name, cookie = visit(service)
        assert cookie is not None
        pools[cookie] = name
    return pools


def on_green(names: Iterable[str]) -> int:
    return sum(name == "green" for name in names)


# --- the exact share --------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", range(101))
def test_any_hundred_requests_in_a_row_are_split_exactly(weight: int) -> None:
    chosen = sides(live_service(canary=canary(weight)), 300)
    assert {sum(chosen[start : start + 100]) for start in range(200)} == {weight}


@pytest.mark.parametrize("weight", range(1, 100))
def test_the_requests_of_the_idle_side_are_spread_evenly(weight: int) -> None:
    chosen = sides(live_service(canary=canary(weight)), 200)
    for length in (10, 25, 50):
        share = weight * length / 100
        for start in range(200 - length):
            assert abs(sum(chosen[start : start + length]) - share) < 1


def test_a_share_stays_exact_across_snapshots() -> None:
    service, chosen = live_service(canary=canary(37)), []
    for _ in range(200):
        chosen += sides(service, 1)
        service = live_service(before=service, canary=canary(37))
    assert {sum(chosen[start : start + 100]) for start in range(100)} == {37}


def test_without_a_canary_everything_goes_to_the_active_pool() -> None:
    assert not any(sides(live_service(), 100))
    assert live_service().split(PLAIN)[1] == b""


def test_a_retry_budget_outlives_a_snapshot_and_takes_its_new_share() -> None:
    before = live_service()
    after = live_service(before=before, retries=Retries(budget=0.5))
    assert after.retry_budget is before.retry_budget
    assert after.retry_budget.share == 0.5


def test_the_turn_of_a_pool_follows_it_through_a_switch() -> None:
    blue, green = pool("blue", 1, 1, 1, first_tag=10), pool("green", 1, 1, first_tag=20)
    before = live_service(active=blue, idle=green)
    before.active.choose()
    after = live_service(before=before, active=green, idle=blue)
    assert (after.active._turn, after.idle._turn) == (0, 1)


# --- sticky by cookie -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", range(0, 101, 7))
def test_of_any_hundred_new_clients_the_exact_share_sees_the_idle_pool(weight: int) -> None:
    service = live_service(canary=canary(weight), sticky=COOKIE)
    chosen = [visit(service)[0] for _ in range(250)]
    assert {on_green(chosen[start : start + 100]) for start in range(150)} == {weight}


def test_a_client_stays_where_it_is_and_takes_up_no_share() -> None:
    service = live_service(canary=canary(50), sticky=COOKIE)
    clients = newcomers(service)
    for cookie, name in clients.items():
        for _ in range(3):
            assert visit(service, cookie) == (name, cookie)
    assert on_green(newcomers(service).values()) == 50


@given(st.lists(st.integers(0, 100), min_size=2, max_size=6))
def test_a_client_that_has_seen_the_idle_pool_never_goes_back(weights: list[int]) -> None:
    """Whether the weight is raised or lowered, until another release begins."""
    service = live_service(canary=canary(weights[0]), sticky=COOKIE)
    clients = newcomers(service)
    seen: set[int] = set()
    for step, weight in enumerate(weights, start=1):
        service = live_service(before=service, canary=canary(weight), sticky=COOKIE)
        moved: dict[str, str] = {}
        for number, cookie in enumerate(clients):
            name, kept = visit(service, cookie)
            assert kept is not None
            moved[kept] = name
            if name == "green":
                seen.add(number)
            assert (name == "green") == (number in seen)
        clients = moved
        assert len(seen) == max(weights[:step])


def test_lowering_the_weight_counts_for_new_clients_only() -> None:
    service = live_service(canary=canary(40), sticky=COOKIE)
    clients = newcomers(service)
    lowered = live_service(before=service, canary=canary(10), sticky=COOKIE)
    assert [visit(lowered, cookie)[0] for cookie in clients] == list(clients.values())
    assert on_green(newcomers(lowered).values()) == 10


def test_another_release_begins_with_other_clients() -> None:
    service = live_service(canary=canary(30, "r1"), sticky=COOKIE)
    clients = newcomers(service)
    other = live_service(before=service, canary=canary(30, "r2"), sticky=COOKIE)
    again = {cookie: visit(other, cookie) for cookie in sorted(clients)}
    assert on_green(name for name, _ in again.values()) == 30
    assert {cookie for cookie, name in clients.items() if name == "green"} != {
        cookie for cookie, (name, _) in again.items() if name == "green"
    }
    assert all(kept is not None and kept.startswith("r2.") for _, kept in again.values())


@pytest.mark.parametrize(
    "held",
    [
        "",
        "x",
        "r1",
        "r1.5",
        "r1.5.i.i",
        "r1.100.i",
        "r1.-1.i",
        "r1.+1.i",
        "r1..i",
        "r1.0x1.i",
        "r1.a.i",
        ".5.i",
        "r2.5.i",
    ],
)
def test_a_cookie_that_is_not_ours_is_replaced(held: str) -> None:
    name, kept = visit(live_service(canary=canary(0), sticky=COOKIE), held)
    assert name == "blue"
    assert kept is not None
    assert re.fullmatch(r"r1\.\d{1,2}\.a", kept)


def test_a_release_may_have_dots_in_its_name() -> None:
    service = live_service(canary=canary(50, "v1.2.3"), sticky=COOKIE)
    for cookie, name in sorted(newcomers(service).items()):
        assert visit(service, cookie) == (name, cookie)


def test_our_cookie_is_found_among_others() -> None:
    service = live_service(canary=canary(0), sticky=COOKIE)
    for header in ("a=b; bg=r1.5.i", "bg=r1.5.i;c", 'xbg=r1.1.a; bg="r1.5.i" ; bg=r1.1.a', "=;; bg=r1.5.i"):
        assert side(service, f"Cookie: {header}") == "green"
    for header in ("xbg=r1.5.i", "BG=r1.5.i", "bg", "a=bg=r1.5.i", "bg =r1.5.i"):
        assert side(service, f"Cookie: {header}") == "blue"


# --- sticky by header -------------------------------------------------------------------------------------


def test_a_header_decides_alone_and_raising_the_weight_moves_nobody_back() -> None:
    users = [f"user-{number}" for number in range(500)]
    before: set[str] = set()
    for weight in range(0, 101, 10):
        service = live_service(canary=canary(weight), sticky=HEADER)
        green = {user for user in users if side(service, f"x-user: {user}") == "green"}
        assert before <= green
        assert abs(len(green) - 5 * weight) < 50
        before = green
    assert before == set(users)


def test_another_release_hashes_otherwise() -> None:
    users = [b"user-%d" % number for number in range(100)]
    assert [bucket_of("r1", user) for user in users] == [bucket_of("r1", user) for user in users]
    assert [bucket_of("r1", user) for user in users] != [bucket_of("r2", user) for user in users]
    first, second = (live_service(canary=canary(50, salt), sticky=HEADER) for salt in ("r1", "r2"))
    headers = [f"X-User: {user.decode()}" for user in users]
    assert [side(first, header) for header in headers] != [side(second, header) for header in headers]
    assert 0 <= bucket_of("", b"") < BUCKETS
    assert 0 <= bucket_of("r" * 500, b"x") < BUCKETS


def test_requests_without_the_header_are_split_exactly() -> None:
    service = live_service(canary=canary(30), sticky=HEADER)
    chosen: list[bool] = []
    for _ in range(100):
        chosen += sides(service, 1)
        side(service, "X-User: somebody")
    assert sum(chosen) == 30


# --- match rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "lines", "target", "expected"),
    [
        (Match("header", "X-Beta", "yes"), ["x-beta:  yes "], "/", True),
        (Match("header", "X-Beta", "yes"), ["X-Beta: YES"], "/", False),
        (Match("header", "X-Beta", "yes"), ["X-Beta: yes, no"], "/", False),
        (Match("header", "X-Beta", "yes"), ["X-Beta2: yes"], "/", False),
        (Match("header", "X-Beta", ""), ["X-Beta:"], "/", True),
        (Match("header", "X-Beta", ""), [], "/", False),
        (Match("cookie", "beta", "1"), ["Cookie: a=b; beta=1"], "/", True),
        (Match("cookie", "beta", "1"), ["Cookie: beta=11"], "/", False),
        (Match("cookie", "Beta", "1"), ["Cookie: beta=1"], "/", False),
        (Match("cookie", "beta", "1"), ["X: beta=1"], "/?beta=1", False),
        (Match("query", "beta", "1"), [], "/a?x=y&beta=1", True),
        (Match("query", "beta", "1"), [], "/a?beta=2&beta=1", True),
        (Match("query", "beta", "1"), [], "/a?beta=12", False),
        (Match("query", "beta", "1"), [], "/beta=1", False),
        (Match("query", "beta", ""), [], "/?beta", True),
        (Match("query", "b t", "a&b"), [], "/?b+t=a%26b", True),
        (Match("query", "name", "Zoë"), [], "/?name=Zo%C3%AB", True),
        (Match("query", "name", "x"), [], "/?name=%C3%AB&%ff=%fe&%", False),
        (Match("query", "a", "b"), [], "/?%zz=%C3&&;=&a=b?a", False),
    ],
)
def test_a_rule_matches_the_whole_value(match: Match, lines: list[str], target: str, expected: bool) -> None:
    assert matches(match, request(*lines, target=target)) is expected


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=30))
def test_no_query_upsets_a_rule(query: str) -> None:
    assert matches(Match("query", "a", "b"), request(target=f"/?{query}")) in (True, False)


@pytest.mark.parametrize("sticky", [None, COOKIE, HEADER])
def test_what_matches_goes_to_the_idle_pool_and_takes_up_no_share(sticky: Sticky | None) -> None:
    rules = (Match("header", "X-Beta", "1"), Match("query", "beta", "1"))
    service = live_service(canary=Canary(weight=20, match=rules, salt="r1"), sticky=sticky)
    chosen: list[bool] = []
    for _ in range(100):
        chosen += sides(service, 1)
        assert side(service, "X-Beta: 1") == "green"
        assert service.split(request(target="/?beta=1")) == (service.idle, b"")
    assert sum(chosen) == 20


# --- preview ----------------------------------------------------------------------------------------------

PREVIEW = Preview(header="X-Preview", secret=SECRET)


@pytest.mark.parametrize("with_canary", [False, True])
def test_the_preview_header_needs_the_right_secret(with_canary: bool) -> None:
    service = live_service(preview=PREVIEW, canary=canary(0) if with_canary else None)
    assert side(service, f"x-preview: {SECRET}") == "green"
    assert side(service, "X-Preview: \xe4") == "blue"
    for wrong in ("", "1", SECRET.upper(), SECRET + "x", SECRET[:-1], f"{SECRET}, {SECRET}"):
        assert side(service, f"X-Preview: {wrong}") == "blue"
    assert side(service) == "blue"


@pytest.mark.parametrize("secret", [None, ""])
def test_without_a_secret_nobody_can_preview(secret: str | None) -> None:
    for weight in (None, canary(0)):
        service = live_service(preview=Preview(header="X-Preview", secret=secret), canary=weight)
        assert service.preview_header is None
        assert side(service, "X-Preview:") == "blue"


def test_a_preview_takes_up_no_share_of_the_canary() -> None:
    service = live_service(preview=PREVIEW, canary=canary(10))
    chosen: list[bool] = []
    for _ in range(100):
        chosen += sides(service, 1)
        assert side(service, f"X-Preview: {SECRET}") == "green"
    assert sum(chosen) == 10


@pytest.mark.parametrize("policy", list(WhenUnhealthy))
def test_a_preview_reaches_the_idle_pool_even_if_that_is_not_healthy(policy: WhenUnhealthy) -> None:
    service = live_service(preview=PREVIEW, idle=SICK, when_unhealthy=policy)
    assert service.preview()[0].name == "green"
    assert side(service, f"X-Preview: {SECRET}") == "green"


# --- when a pool is not healthy ---------------------------------------------------------------------------

SICK_BLUE = pool("blue", 1, health=Health.UNHEALTHY, first_tag=10)


@pytest.mark.parametrize("sticky", [None, COOKIE, HEADER])
def test_a_canary_on_an_unhealthy_pool_gets_nothing(sticky: Sticky | None) -> None:
    rule = Canary(weight=100, match=(Match("header", "X-Beta", "1"),), salt="r1")
    service = live_service(canary=rule, sticky=sticky, idle=SICK)
    for lines in ([], ["X-Beta: 1"], ["Cookie: bg=r1.5.i"], ["X-User: u"]):
        assert service.split(request(*lines)) == (service.active, b"")


@pytest.mark.parametrize(
    ("policy", "name", "serves"),
    [
        (WhenUnhealthy.FAIL, "blue", False),
        (WhenUnhealthy.TRY_ALL, "blue", True),
        (WhenUnhealthy.OTHER_POOL, "green", True),
    ],
)
def test_the_policy_decides_when_the_active_pool_is_not_healthy(
    policy: WhenUnhealthy, name: str, serves: bool
) -> None:
    chosen = live_service(active=SICK_BLUE, when_unhealthy=policy).split(PLAIN)[0]
    assert (chosen.name, chosen.choose() is not None) == (name, serves)


def test_the_other_pool_serves_only_if_it_is_healthy_itself() -> None:
    service = live_service(active=SICK_BLUE, idle=SICK, when_unhealthy=WhenUnhealthy.OTHER_POOL)
    chosen = service.split(PLAIN)[0]
    assert (chosen.name, chosen.choose()) == ("blue", None)


@pytest.mark.parametrize("sticky", [None, COOKIE, HEADER])
def test_with_a_canary_the_other_pool_serves_everybody(sticky: Sticky | None) -> None:
    policy = WhenUnhealthy.OTHER_POOL
    service = live_service(active=SICK_BLUE, canary=canary(10), sticky=sticky, when_unhealthy=policy)
    for lines in ([], ["X-User: u"], ["Cookie: bg=r1.99.a"]):
        assert {side(service, *lines) for _ in range(100)} == {"green"}


def test_cookies_are_read_from_a_head_as_it_was_sent() -> None:
    head = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\ncOOKIE:\tA=Bc;\td=\xff\r\n\r\n")
    assert head is not None
    assert cookie_value(head.fields, b"A") == b"Bc"
    assert cookie_value(head.fields, b"d") == b"\xff"
    assert cookie_value(head.fields, b"a") is None


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("bg=1", b"1"),
        ("a=2; bg=1", b"1"),
        ("a=bg=2;\t bg=1 ; b=3", b"1"),
        ("bgx=2; xbg=3; bg=1; bg=4", b"1"),
        ('bg="1"', b"1"),
        ("a; bg; bg=1", b""),
        ("bg =2; bg=1", b"1"),
        ("bg=", b""),
        ("abg=1; bgg=2; bg;", b""),
        ("a=bg", None),
        ("", None),
    ],
)
def test_the_first_cookie_of_a_name_counts(header: str, value: bytes | None) -> None:
    assert cookie_value(request(f"Cookie: {header}").fields, b"bg") == value


def test_what_was_read_for_one_release_is_not_taken_for_another() -> None:
    head = request("Cookie: bg=r1.99.i")
    old, new = (live_service(canary=canary(1, salt=salt), sticky=COOKIE) for salt in ("r1", "r2"))
    for _ in range(2):
        assert old.split(head) == (old.idle, b"")
        assert new.split(head)[1].startswith(b"bg=r2.")


# --- what requests find compiled --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "workers", "share"),
    [(None, 4, NO_LIMIT), (100, 1, 100), (100, 4, 25), (100, 3, 34), (2, 8, 1), (1, 1, 1)],
)
def test_each_worker_has_its_share_of_the_requests(limit: int | None, workers: int, share: int) -> None:
    assert share_of(limit, workers) == share


def test_a_pool_is_full_at_the_share_of_its_worker() -> None:
    service = LiveService(view_of(limits=Limits(upstream_requests=6)), record(), live, workers=3)
    for pool_of in (service.active, service.idle):
        (upstream,) = pool_of.upstreams
        upstream.in_flight = 1
        assert not pool_of.is_full()
        upstream.in_flight = 2
        assert pool_of.is_full()


def test_an_ordinary_service_is_not_special() -> None:
    service = live_service(outlier=Outlier(), slow_start_s=5.0, canary=canary(10), sticky=COOKIE)
    assert not service.special
    assert service.timeouts == service.view.policy.timeouts
    assert service.retries == service.view.policy.retries
    assert service.limits == service.view.policy.limits
    assert service.maintenance is None


@pytest.mark.parametrize(
    "setting",
    [
        {"hold": Hold(1, 0.0, 1, 1)},
        {"maintenance": Maintenance()},
        {"headers": ServiceHeaders(host="app.internal")},
        {"headers": ServiceHeaders(pool="X-Pool")},
        {"preview": Preview(header="X-Preview", secret=SECRET)},
        {"limits": Limits(request_body_bytes=1)},
        {"send_proxy": 1},
    ],
)
def test_a_service_with_a_rare_setting_says_so(setting: dict[str, Any]) -> None:
    assert live_service(**setting).special
