from benchmarks.scenarios import BROWSER_HEADERS, SCENARIOS, SERVICES, Setting, host


def test_a_browser_sends_sixteen_headers_with_host() -> None:
    names = {header.partition(": ")[0].lower() for header in BROWSER_HEADERS}
    assert len(names) == len(BROWSER_HEADERS) == 15
    assert "host" not in names


def test_only_the_scenarios_of_new_connections_close_them() -> None:
    closing = [name for name, each in SCENARIOS.items() if "Connection: close" in each.headers]
    assert closing == ["connect", "tls-connect"]


def test_every_setting_is_measured_by_some_scenario() -> None:
    assert {each.setting for each in SCENARIOS.values()} == set(Setting)


def test_what_has_to_rotate_differs() -> None:
    assert len({host(number) for number in range(SERVICES)}) == SERVICES
