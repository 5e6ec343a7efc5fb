from benchmarks.scenarios import BROWSER_HEADERS, SCENARIOS


def test_a_browser_sends_sixteen_headers_with_host() -> None:
    names = {header.partition(": ")[0].lower() for header in BROWSER_HEADERS}
    assert len(names) == len(BROWSER_HEADERS) == 15
    assert "host" not in names


def test_only_the_scenario_of_new_connections_closes_them() -> None:
    closing = [name for name, each in SCENARIOS.items() if "Connection: close" in each.headers]
    assert closing == ["connect"]
