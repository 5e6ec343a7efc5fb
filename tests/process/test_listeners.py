from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgproxy.model import Listener
from bgproxy.process.inherited import Inherited
from bgproxy.process.listeners import Listeners
from bgproxy.process.plan import Plan
from bgproxy.process.upgrade import Estate

ADMIN = "127.0.0.1:0"


def plan_of(*listeners: Listener, workers: int = 2, admin: str = ADMIN) -> Plan:
    return Plan(listeners, workers, admin, shutdown_timeout_s=1.0)


def anywhere(name: str) -> Listener:
    return Listener(name=name, bind="127.0.0.1:0")


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    opened = Listeners()
    opened.take_inherited(plan_of(), Inherited())
    yield opened
    opened.close()
    opened.admin.close()


def accepts(place: tuple[str, str, str, bool]) -> bool:
    host, _, port = place[2].rpartition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


def test_every_worker_has_sockets_of_its_own_at_every_listener(listeners: Listeners) -> None:
    listeners.bind(plan_of(anywhere("one"), anywhere("two"), workers=3))
    shares = [listeners.share(index, 3) for index in range(3)]
    assert [[listener.name for _, listener in share] for share in shares] == [["one", "two"]] * 3
    given = {sock for share in shares for sock, _ in share}
    assert len(given) == 6
    assert given | {listeners.admin} == set(listeners.sockets())


def test_a_plan_that_cannot_be_bound_changes_nothing(listeners: Listeners) -> None:
    listeners.bind(plan_of(anywhere("old")))
    before = listeners.places()
    opened = set(listeners.sockets())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {bind}"):
            listeners.bind(plan_of(anywhere("new"), Listener(name="taken", bind=bind)))
    assert listeners.places() == before
    assert set(listeners.sockets()) == opened


def test_what_a_plan_leaves_out_accepts_until_it_is_closed(listeners: Listeners) -> None:
    listeners.bind(plan_of(anywhere("old")))
    (old,) = listeners.places()
    listeners.bind(plan_of(anywhere("new")))
    (new,) = listeners.places()
    assert new[0] == "new"
    assert accepts(old)
    listeners.close_retired()
    assert not accepts(old)
    assert accepts(new)


def test_a_listener_that_comes_back_in_time_was_never_closed(listeners: Listeners) -> None:
    listeners.bind(plan_of(anywhere("here")))
    before = listeners.places()
    listeners.bind(plan_of(anywhere("elsewhere")))
    listeners.bind(plan_of(anywhere("here")))
    assert listeners.places() == before
    listeners.close_retired()
    assert accepts(before[0])


def test_a_changed_setting_keeps_the_sockets(listeners: Listeners) -> None:
    listeners.bind(plan_of(anywhere("here")))
    ((name, bind, address, _),) = listeners.places()
    listeners.bind(plan_of(Listener(name="here", bind="127.0.0.1:0", preview=True)))
    assert listeners.places() == [(name, bind, address, True)]


def test_a_successor_has_the_same_listeners(listeners: Listeners) -> None:
    plan = plan_of(anywhere("one"), anywhere("two"))
    listeners.bind(plan)
    estate = Estate(
        config_path="",
        config_text="",
        plan=plan,
        memory=-1,
        bells=[],
        admin=os.dup(listeners.admin.fileno()),
        listeners=[(name, bind, [os.dup(fd) for fd in fds]) for name, bind, fds in listeners.descriptors()],
        inherited=[],
        controller=None,
        crews=[],
    )
    successor = Listeners()
    successor.adopt(estate)
    assert successor.described() == listeners.described()
    assert successor.places() == listeners.places()
    successor.close()
    successor.admin.close()


def test_only_an_admin_file_of_our_own_is_removed(tmp_path: Path) -> None:
    plan = plan_of(admin=f"unix:{tmp_path}/admin.sock")
    ours = Listeners()
    ours.take_inherited(plan, Inherited())
    theirs = Listeners()
    theirs.take_inherited(plan, Inherited([("", ours.admin)]))
    theirs.remove_admin_file()
    assert (tmp_path / "admin.sock").exists()
    assert theirs.inherited() == [ours.admin.fileno()]
    ours.remove_admin_file()
    assert not (tmp_path / "admin.sock").exists()
    ours.admin.close()
