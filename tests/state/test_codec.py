from __future__ import annotations

from math import inf, nan
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.errors import Invalid, StateError
from bgproxy.model import Canary, Desired, Match, Pool, ServiceState, Upstream
from bgproxy.state.base import HistoryEntry
from bgproxy.state.codec import decode, encode
from tests.state.examples import desired, entry

INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False).filter(lambda value: value != -inf)
POOLS = st.builds(Pool, st.text(), st.lists(st.builds(Upstream, st.text(), INTEGERS), max_size=3).map(tuple))
CANARIES = st.builds(
    Canary,
    INTEGERS,
    st.lists(st.builds(Match, st.text(), st.text(), st.text()), max_size=3).map(tuple),
    st.text(),
)
SERVICES = st.builds(
    ServiceState,
    st.text(),
    st.none() | st.text(),
    st.none() | CANARIES,
    st.dictionaries(st.text(), POOLS, max_size=2),
    st.none() | FLOATS,
    INTEGERS,
)
STATES = st.builds(Desired, INTEGERS, st.dictionaries(st.text(), SERVICES, max_size=3))


@given(STATES)
def test_every_state_survives_the_round_trip(state: Desired) -> None:
    assert decode(Desired, encode(state), "here") == state


@given(STATES)
def test_the_text_of_a_state_does_not_change_in_the_round_trip(state: Desired) -> None:
    text = encode(state)
    assert encode(decode(Desired, text, "here")) == text


def test_a_history_entry_survives_the_round_trip() -> None:
    for value in (entry(), entry("web", "api", from_pool="blue", forced=True, duration_ms=1.25, id=7)):
        assert decode(HistoryEntry, encode(value), "here") == value


def test_never_is_written_as_a_word_because_json_has_no_infinity() -> None:
    state = Desired(1, {"web": ServiceState("blue", drain_until=inf)})
    assert '"drain_until":"inf"' in encode(state)
    assert decode(Desired, encode(state), "here") == state


@pytest.mark.parametrize("value", [nan, -inf])
def test_a_number_that_means_nothing_is_refused(value: float) -> None:
    with pytest.raises(Invalid, match="not a number"):
        encode(Desired(1, {"web": ServiceState("blue", drain_until=value)}))


@pytest.mark.parametrize("state", [Desired(2**64, {}), Desired(1, {"web": ServiceState("\ud800")})])
def test_what_json_cannot_hold_is_refused(state: Desired) -> None:
    with pytest.raises(Invalid, match="Desired cannot be stored as JSON"):
        encode(state)


def test_a_missing_field_takes_its_default() -> None:
    text = '{"generation":1,"services":{"web":{"active":"blue"}}}'
    assert decode(Desired, text, "here") == Desired(1, {"web": ServiceState("blue")})


def test_a_whole_number_is_good_enough_for_a_float() -> None:
    state = decode(Desired, '{"generation":1,"services":{"w":{"active":"b","drain_until":5}}}', "here")
    assert type(state.services["w"].drain_until) is float


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["generation"], "1", r"^here: generation has to be of type int, but is str \('1'\)\.$"),
        (["generation"], True, "generation has to be of type int, but is bool"),
        (["generation"], 1.0, "generation has to be of type int, but is float"),
        (["generation"], None, "generation has to be of type int, but is NoneType"),
        (["extra"], 1, "extra is not a field of Desired in this version"),
        (["services"], [], "services has to be an object, but is list"),
        (["services", "web"], "blue", "services.web has to be an object, but is str"),
        (["services", "web", "active"], None, "services.web.active has to be of type str"),
        (
            ["services", "web", "drain_until"],
            "soon",
            "services.web.drain_until has to be a number, but is str",
        ),
        (
            ["services", "web", "drain_until"],
            False,
            "services.web.drain_until has to be a number, but is bool",
        ),
        (["services", "web", "canary", "match"], {}, "services.web.canary.match has to be a list"),
        (["services", "web", "canary", "match", 0, "kind"], 3, r"web\.canary\.match\[0\]\.kind has to be of"),
        (["services", "web", "canary", "wait"], 3, "services.web.canary.wait is not a field of Canary"),
        (
            ["services", "web", "pools", "green", "upstreams", 1],
            3,
            r"pools\.green\.upstreams\[1\] has to be an ob",
        ),
    ],
)
def test_a_wrong_field_is_named(keys: list[Any], value: object, message: str) -> None:
    document = orjson.loads(encode(desired(1)))
    target = document
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = value
    with pytest.raises(StateError, match=message):
        decode(Desired, orjson.dumps(document).decode(), "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"generation":1}', "here: services is missing"),
        ('{"generation":1,"services":{"web":{}}}', "here: services.web.active is missing"),
        ("[]", "here: the document has to be an object, but is list"),
        ("null", "here: the document has to be an object, but is NoneType"),
        ("", "here is not JSON"),
        ('{"generation":NaN,"services":{}}', "here is not JSON"),
        ('{"generation":1,"services":{}}}', "here is not JSON"),
    ],
)
def test_a_text_that_is_no_state_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(StateError, match=message):
        decode(Desired, text, "here")


@given(st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS.filter(lambda v: v != inf) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["generation", "services", "web", "active"]), inner, max_size=4),
))  # fmt: skip
def test_any_json_is_a_state_or_a_state_error(document: object) -> None:
    try:
        state = decode(Desired, orjson.dumps(document).decode(), "here")
    except StateError:
        return
    assert isinstance(state, Desired)


def test_a_field_of_a_type_that_the_codec_does_not_know_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="does not know how to read"):
        decode(list[int], "[]", "here")
