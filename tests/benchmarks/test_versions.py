from benchmarks.versions import Versions


def a_run(*versions: str) -> Versions:
    """One in which these versions were active, each by an acknowledged switch."""
    first, *others = versions
    run = Versions()
    run.start(first)
    for version in others:
        run.switch_sent(version)
        run.switch_acknowledged()
    return run


def test_without_switches_whoever_answers_is_right() -> None:
    versions = Versions()
    assert versions.find_fault(versions.begin(), "v7", "") is None


def test_after_an_acknowledged_switch_the_old_version_is_stale() -> None:
    versions = a_run("v1", "v2")
    began = versions.begin()
    assert versions.find_fault(began, "v2", "") is None
    assert versions.find_fault(began, "v1", "") == "stale: answered by v1, when only v2 may"


def test_a_request_that_began_before_the_acknowledgement_may_get_either() -> None:
    versions = a_run("v1")
    versions.switch_sent("v2")
    began = versions.begin()
    versions.switch_acknowledged()
    assert versions.find_fault(began, "v1", "") is None
    assert versions.find_fault(began, "v2", "") is None


def test_a_switch_that_is_sent_while_a_request_runs_may_answer_it() -> None:
    versions = a_run("v1", "v2")
    began = versions.begin()
    versions.switch_sent("v1")
    assert versions.find_fault(began, "v1", "") is None


def test_a_refused_switch_moves_nothing() -> None:
    versions = a_run("v1")
    versions.switch_sent("v2")
    versions.switch_refused()
    assert versions.find_fault(versions.begin(), "v2", "") is not None


def test_a_switch_without_an_answer_leaves_both_right() -> None:
    versions = a_run("v1")
    versions.switch_sent("v2")
    assert {versions.find_fault(versions.begin(), version, "") for version in ("v1", "v2")} == {None}


def test_header_and_body_have_to_name_the_same_version() -> None:
    versions = Versions()
    assert versions.find_fault(0, "v1", "hello from v1 on blue-1\n") is None
    fault = versions.find_fault(0, "v1", "hello from v2 on green-1\n")
    assert fault == "X-Version is v1, but the body is from v2"


def test_an_answer_without_a_version_is_a_fault() -> None:
    fault = Versions().find_fault(0, None, "")
    assert fault is not None
    assert "X-Version" in fault
