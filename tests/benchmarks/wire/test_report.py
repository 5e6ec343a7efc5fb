from typing import Any

from benchmarks.wire import report


def facts(faults: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {
        "command": "python -m benchmarks.wire",
        "date": "2026-01-01T00:00:00+00:00",
        "machine": {"cpu": "a CPU", "cores": 2, "memory_mib": 1024, "kernel": "6.1", "virtual": False},
        "versions": {"bgproxy": "1"},
        "cases": {
            "framing": [
                {"name": "two lengths", "section": "9112 6.3", "right": "refused"},
                {"name": "no length", "section": "9112 6.3", "right": "forwarded once"},
            ]
        },
        "proxies": {
            name: {"version": "1.0", "took_s": 9.5, "faults": {"framing": wrong}}
            for name, wrong in faults.items()
        },
    }


def test_the_table_counts_what_is_right() -> None:
    text = report.render(facts({"bgproxy": {}, "nginx": {"two lengths": "answered 200"}}))
    assert "| framing (2) | 2 | 1 |" in text
    assert "| **all (2)** | **2** | **1** |" in text


def test_every_fault_of_ours_says_what_happened_and_what_is_right() -> None:
    text = report.render(facts({"bgproxy": {"two lengths": "the client got `a|b`"}}))
    assert "- **two lengths** (RFC 9112 6.3): `the client got 'a¦b'`. Right: `refused`." in text


def test_without_faults_of_ours_it_says_so() -> None:
    assert "Nowhere." in report.render(facts({"bgproxy": {}}))


def test_the_others_are_marked_where_they_are_wrong() -> None:
    text = report.render(facts({"bgproxy": {}, "nginx": {"two lengths": "x"}, "caddy": {}}))
    assert "| two lengths | 9112 6.3 | ✗ |   |" in text
    assert "| no length |" not in text


def test_the_summary_is_one_line() -> None:
    result = facts({"nginx": {"two lengths": "x"}})["proxies"]["nginx"]
    assert report.summary("nginx", result) == "nginx 1.0: 1 cases not right, 9.5 s"
