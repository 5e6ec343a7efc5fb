from benchmarks.cutover import near
from benchmarks.cutover.yardstick import Commit
from bgproxy.demo.ledger import Request
from tests.benchmarks.cutover.examples import TO_GREEN, a_request


def every_10_ms(begin: float, end: float, ms: float = 1.0) -> list[Request]:
    count = round((end - begin) * 100)
    return [a_request(str(number), begin + number / 100, ms, "v1") for number in range(count)]


def test_requests_are_near_a_switch_from_a_quarter_of_a_second_before_to_one_after_it() -> None:
    requests = [
        a_request("before", 104.70, 1.0, "v1"),
        a_request("reaching in", 104.70, 60.0, "v1"),
        a_request("just after", 105.25, 2.0, "v1"),
        a_request("after", 105.26, 3.0, "v1"),
    ]
    found = near.compare(requests, [TO_GREEN], [])
    assert [round(seconds * 1000) for seconds in found.near] == [2, 60]
    assert [round(seconds * 1000) for seconds in found.elsewhere] == [1, 3]


def test_requests_near_our_own_commits_are_in_neither() -> None:
    requests = [a_request("by the commit", 107.6, 9.0, "v1"), a_request("calm", 109.0, 1.0, "v1")]
    found = near.compare(requests, [TO_GREEN], [Commit(107.5, 107.503)])
    assert found.near == []
    assert [round(seconds * 1000) for seconds in found.elsewhere] == [1]


def test_failed_and_slow_requests_have_no_latency() -> None:
    requests = [
        a_request("slow", 105.0, 100.0, "v1", path="/slow"),
        a_request("no", 101.0, 1.0, "v1", status=502),
    ]
    assert near.compare(requests, [TO_GREEN], [])[:2] == ([], [])


def test_noise_is_narrow_where_every_moment_is_like_the_others() -> None:
    found = near.compare(every_10_ms(100.0, 120.0), [TO_GREEN], [])
    low, high = found.noise
    assert round(low * 1000, 6) == round(high * 1000, 6) == 1.0


def test_a_bad_moment_without_a_switch_makes_noise() -> None:
    bad = every_10_ms(115.0, 115.5, ms=30.0)
    calm = [each for each in every_10_ms(100.0, 120.0) if not 115.0 <= each.started < 115.5]
    low, high = near.compare([*calm, *bad], [TO_GREEN], []).noise
    assert round(low * 1000) == 1
    assert round(high * 1000) == 30


def test_a_slow_switch_is_above_the_noise() -> None:
    slow = every_10_ms(105.0, 105.05, ms=20.0)
    found = near.compare([*every_10_ms(100.0, 120.0), *slow], [TO_GREEN], [])
    assert found.near[-1] > found.noise[1]


def test_the_same_books_give_the_same_noise() -> None:
    requests = [a_request(str(number), 100 + number / 10, 1.0 + number % 7, "v1") for number in range(300)]
    assert near.compare(requests, [TO_GREEN], []) == near.compare(requests, [TO_GREEN], [])
