from __future__ import annotations

from bgproxy.model import Desired, ServiceState
from bgproxy.state.memory import MemoryStore
from tests.state.examples import entry


async def test_a_dict_that_is_edited_after_the_commit_changes_nothing() -> None:
    store = MemoryStore()
    services = {"web": ServiceState("blue")}
    await store.commit(Desired(1, services), entry(), expected_generation=0)
    services["web"] = ServiceState("green")
    loaded = await store.load()
    assert loaded == Desired(1, {"web": ServiceState("blue")})
    loaded.services.clear()
    assert await store.load() == Desired(1, {"web": ServiceState("blue")})
