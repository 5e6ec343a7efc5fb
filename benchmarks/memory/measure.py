"""Measures one thing each, with a site of its own: transfers, idle connections, a client among idle ones.

Says what was found; what it may be is said by `budgets`.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.memory import crowd, footprint
from benchmarks.memory.crowd import Crowd
from benchmarks.memory.site import Setting, Site
from benchmarks.memory.transfers import RATE_BYTES_PER_S

# What is done before the books are opened: code is loaded, and Python has specialised it.
WARM_UP_TRANSFERS: Final = 2
WARM_UP_BYTES: Final = 4 * 1024 * 1024
WARM_UP_CLIENTS: Final = 100
WARM_UP_CROWDS: Final = 10
WARM_UP_REQUESTS: Final = 100
LOOK_S: Final = 0.25
PLAIN: Final = Setting()

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Slow:
    """As many slow readers as slow uploads, at once. A rate of 0: the readers read nothing at first."""

    about: str
    setting: Setting = PLAIN
    chunked: bool = False
    reader_bytes_per_s: int = RATE_BYTES_PER_S


def transfers(row: Slow, *, each: int, size_bytes: int, slow_s: float) -> Json:
    """How far the worker's memory rose above what it was before, and whether all came whole."""
    options: tuple[str, ...] = ("--reader-bytes-per-s", str(row.reader_bytes_per_s))
    if row.chunked:
        options += ("--chunked",)
    with Site(row.setting) as site:
        site.transfers(
            readers=WARM_UP_TRANSFERS,
            uploads=WARM_UP_TRANSFERS,
            size_bytes=WARM_UP_BYTES,
            slow_s=0,
            options=options,
            meanwhile=lambda: None,
        )
        (worker,) = site.worker_pids
        baseline = footprint.of(worker)
        footprint.forget_peak(worker)
        began = time.monotonic()
        look_at, pss_bytes = began, baseline.pss_bytes

        def look() -> None:
            nonlocal look_at, pss_bytes
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_S
                pss_bytes = max(pss_bytes, footprint.of(worker).pss_bytes)

        ends = site.transfers(
            readers=each, uploads=each, size_bytes=size_bytes, slow_s=slow_s, options=options, meanwhile=look
        )
        return {
            "about": row.about,
            "transfers": 2 * each,
            **ends,
            "elapsed_s": time.monotonic() - began,
            "baseline_bytes": baseline.rss_bytes,
            "rss_growth_bytes": footprint.peak_rss_bytes(worker) - baseline.rss_bytes,
            "pss_growth_bytes": pss_bytes - baseline.pss_bytes,
            "left_bytes": footprint.of(worker).rss_bytes - baseline.rss_bytes,
        }


def idle(connections: int, *, asked: bool, tls: bool = False) -> Json:
    """What a connection costs the workers on which nothing happens; every one of them is served at the end."""
    workers = crowd.workers_for(connections)
    with Site(Setting(listener_tls=tls, workers=workers)) as site:
        with Crowd(site.port, workers * WARM_UP_CLIENTS, asked=asked, tls=site.client_tls):
            pass
        before = footprint.pss_bytes(site.worker_pids)
        with Crowd(site.port, connections, asked=asked, tls=site.client_tls) as idlers:
            after = footprint.pss_bytes(site.worker_pids)
            idlers.ask_all()
    return {
        "asked": asked,
        "tls": tls,
        "connections": connections,
        "workers": workers,
        "bytes_each": (after - before) / connections,
    }


def churn(connections: int, *, tls: bool) -> Json:
    """What connections leave behind that had an answer and have ended, a hundred at a time."""
    with Site(Setting(listener_tls=tls)) as site:

        def come_and_go() -> None:
            with Crowd(site.port, WARM_UP_CLIENTS, asked=True, tls=site.client_tls):
                pass

        for _ in range(WARM_UP_CROWDS):  # until malloc has found its size
            come_and_go()
        before = footprint.pss_bytes(site.worker_pids)
        for _ in range(connections // WARM_UP_CLIENTS):
            come_and_go()
        after = footprint.pss_bytes(site.worker_pids)
    return {"tls": tls, "connections": connections, "left_bytes_each": (after - before) / connections}


def disturbance(connections: int, *, requests: int) -> Json:
    """The latency of a client who is alone, and of one among idle connections, each with as many workers."""
    allowed = os.sched_getaffinity(0)
    setting = Setting(workers=crowd.workers_for(connections))
    with Site(setting) as quiet, Site(setting) as busy, Crowd(busy.port, connections, asked=True):
        for site in (quiet, busy):
            site.pin(min(allowed))
        ports = [quiet.port, busy.port]
        os.sched_setaffinity(0, {max(allowed)})
        try:
            crowd.latencies_s(ports, WARM_UP_REQUESTS)
            alone_s, among_s = crowd.latencies_s(ports, requests)
        finally:
            os.sched_setaffinity(0, allowed)
    return {
        "connections": connections,
        "alone_s": alone_s,
        "among_s": among_s,
        "ratio": among_s / alone_s,
    }
