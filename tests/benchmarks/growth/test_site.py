import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import cpu_time
from benchmarks.growth import site
from benchmarks.growth.site import Size
from bgproxy.config.load import load


@pytest.mark.parametrize(
    ("size", "services", "upstreams"),
    [(Size(), 1, 1), (Size(upstreams=1000), 1, 1000), (Size(services=200), 200, 200)],
)
def test_the_configuration_is_valid_and_as_large_as_asked(
    tmp_path: Path, size: Size, services: int, upstreams: int
) -> None:
    path = tmp_path / "bgproxy.yaml"
    path.write_text(yaml.safe_dump(site.config(size, tmp_path, port=8080, admin=9900, upstream=8001)))
    config = load(path)
    addresses = {
        each.address for service in config.services.values() for each in service.pools["blue"].upstreams
    }
    assert len(config.services) == services
    assert len(addresses) == upstreams


def test_requests_of_all_pools_of_all_services_count() -> None:
    assert site.requests_of(told()) == 4 + 3 + 2 + 1


def test_it_is_healthy_when_every_upstream_is() -> None:
    assert site.is_healthy(told())
    assert not site.is_healthy(told("unhealthy"))


def test_cpu_time_is_that_of_all_threads_and_finer_than_what_proc_says() -> None:
    pid = os.getpid()
    before_s = site.cpu_s([pid])
    thread = threading.Thread(target=burn, args=[cpu_time.TICK_S / 4])
    thread.start()
    thread.join()
    assert site.cpu_s([pid]) - before_s >= cpu_time.TICK_S / 4
    assert site.cpu_s([pid, pid]) > site.cpu_s([pid])
    # Of the same books: less than all of it, by what the kernel has counted.
    assert 0 < site.user_s([pid]) <= site.cpu_s([pid]) + cpu_time.TICK_S


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def told(health: str = "healthy") -> dict[str, Any]:
    """What bgproxy says of two services, one of which has an upstream in this state."""

    def pools(*requests: int, health: str = "healthy") -> dict[str, Any]:
        return {
            side: {"requests": count, "upstreams": [{"health": "healthy"}, {"health": health}]}
            for side, count in zip(("blue", "green"), requests, strict=True)
        }

    return {"services": [{"pools": pools(4, 3)}, {"pools": pools(2, 1, health=health)}]}
