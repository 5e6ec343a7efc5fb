from __future__ import annotations

from typing import Any

from bgproxy.cli.rates import Rate, rates

from .examples import pool, responses, service, status


def at(blue: tuple[int, int], green: tuple[int, int]) -> dict[str, Any]:
    return status(service(pools={"blue": pool(**responses(*blue)), "green": pool(**responses(*green))}))


def test_rates_are_what_the_counters_grew_by() -> None:
    found = rates(at((100, 5), (0, 0)), at((190, 5), (10, 2)), 2.0)
    assert found["web", "blue"] == Rate(requests_per_s=45, errors=0, share=0.9)
    assert found["web", "green"] == Rate(requests_per_s=5, errors=0.2, share=0.1)


def test_without_requests_there_is_no_share_and_no_error_rate() -> None:
    assert rates(at((7, 1), (0, 0)), at((7, 1), (0, 0)), 1.0)["web", "blue"] == Rate(0, None, None)


def test_counters_that_went_back_have_no_rate() -> None:
    assert rates(at((100, 0), (50, 0)), at((3, 0), (51, 0)), 1.0) == {}


def test_a_new_service_has_no_rate_yet() -> None:
    assert rates(status(service("api")), status(service("web")), 1.0) == {}


def test_a_response_that_never_came_is_an_error() -> None:
    after = at((10, 0), (0, 0))
    after["services"][0]["pools"]["blue"]["responses"]["none"] = 4
    assert rates(at((0, 0), (0, 0)), after, 1.0)["web", "blue"].errors == 0.4
