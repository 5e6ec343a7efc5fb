import re

import pytest

from benchmarks.wire.case import Case, Reconnect, Whole
from benchmarks.wire.cases import GROUPS
from benchmarks.wire.observed import ClientSide, Observed, UpstreamSide

CASES = [case for cases in GROUPS.values() for case in cases]


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_is_well_formed_and_can_fail(case: Case) -> None:
    assert re.fullmatch(r"[0-9]{4} [0-9]+(\.[0-9]+)*", case.section)
    assert not any(isinstance(action, Whole) for action in case.client)
    assert not any(isinstance(action, Reconnect) for script in case.upstream for action in script)
    silent = Observed(case.methods, [ClientSide()], elapsed_s=60.0)
    garbled = Observed(case.methods, [ClientSide(bytearray(b"nonsense\r\n\r\n"), "open")])
    leaky = Observed(case.methods, [ClientSide()], [UpstreamSide("a", bytearray(b"PRI \x16\x03"))])
    assert any(case.right.find_fault(seen) for seen in (silent, garbled, leaky))
