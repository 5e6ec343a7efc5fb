from __future__ import annotations

import pytest

from bgproxy.cli import failure
from bgproxy.errors import ConfigError, Problem


@pytest.mark.parametrize(
    ("status", "code"), [(401, 4), (403, 4), (404, 1), (409, 1), (422, 1), (500, 1), (503, 1)]
)
def test_each_refusal_has_its_exit_code(status: int, code: int) -> None:
    assert failure.from_problem({"status": status, "title": "t"}).exit_code == code


def test_an_unhealthy_target_is_named_upstream_by_upstream_with_what_to_do() -> None:
    down = {
        "service": "web",
        "pool": "green",
        "upstream": "g:1",
        "health": "unhealthy",
        "reason": "refused\x1b",
    }
    refused = failure.from_problem({"status": 409, "title": "T", "detail": "D", "upstreams": [down]})
    assert refused.format_message().splitlines() == [
        "Refused: T",
        "  web/green  g:1  unhealthy  refused�",
        "Wait until they are healthy (`bgproxy status --watch`), or repeat with --force: it is recorded.",
    ]


def test_only_a_restart_and_too_many_calls_are_passing() -> None:
    statuses = (401, 409, 429, 500, 503)
    passing = {status: failure.from_problem({"status": status}).passing for status in statuses}
    assert passing == {401: False, 409: False, 429: True, 500: True, 503: True}
    assert failure.Unreachable({}).passing


def test_errors_of_a_configuration_have_file_line_path_and_remedy() -> None:
    error = ConfigError(
        [Problem("workers", "has to be a number", 3), Problem("", "cannot be read")], "f.yaml"
    )
    assert failure.InvalidConfiguration.of(error).format_message().splitlines() == [
        "Invalid: f.yaml has 2 errors",
        "  f.yaml:3: workers: has to be a number",
        "  f.yaml: cannot be read",
    ]


def test_a_missing_token_and_a_wrong_one_have_each_their_remedy() -> None:
    missing = failure.from_problem({"status": 401, "type": "urn:bgproxy:problem:unauthenticated"})
    wrong = failure.from_problem({"status": 401, "type": "urn:bgproxy:problem:wrong-token"})
    assert (missing.hint.split()[0], wrong.hint.split()[0]) == ("Set", "Correct")


def test_members_of_a_body_are_named_as_the_options_that_they_are() -> None:
    problem = {"status": 409, "title": "T", "detail": "say where `to`, or repeat with `force`"}
    refused = failure.from_problem(problem)
    assert refused.format_message() == "Refused: T\n  say where `--to`, or repeat with `--force`"
    assert refused.problem == problem


def test_for_scripts_an_absent_admin_api_is_a_problem_document_too() -> None:
    assert failure.Unreachable.at("unix:/a.sock", "No such file", "").problem == {
        "type": "urn:bgproxy:problem:unreachable",
        "title": "The admin API does not answer",
        "status": 0,
        "detail": "unix:/a.sock: No such file",
    }


def test_a_failure_without_a_title_still_says_something() -> None:
    assert failure.from_problem({"status": 502}).format_message() == "Failed: the admin API answered 502"


def test_problems_that_the_detail_repeats_are_shown_once() -> None:
    problem = {"line": 3, "path": "workers", "message": "has to be a number"}
    detail = "f.yaml has 1 error:\n  f.yaml:3: workers: has to be a number"
    refused = failure.from_problem({"status": 422, "title": "T", "detail": detail, "problems": [problem]})
    assert refused.format_message().splitlines() == [
        "Refused: T",
        "  f.yaml has 1 error:",
        "  line 3: workers: has to be a number",
    ]
