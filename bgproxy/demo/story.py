"""`bgproxy demo`: two versions of an app, bgproxy, a load, and everything that may happen to a release.

It tells what is done, how to do it by hand and what was seen. It must never believe bgproxy: what it says
about requests comes from the clients and the apps.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from bgproxy.demo import report
from bgproxy.demo.display import Display
from bgproxy.demo.ledger import Change, Kind, Ledger, quantile
from bgproxy.demo.results import ResultReader
from bgproxy.demo.stage import INTERRUPTIONS, SIDES, WORKERS, Answer, Stage, StageError, kill

CLIENTS: Final = 64
THINK_S: Final = 0.03
PREVIEW_CLIENTS: Final = 4
POLL_S: Final = 0.1
WAIT_S: Final = 10.0  # for anything that has to happen by itself
BURST: Final = 40
BURST_PAUSE_S: Final = 0.04
# How far an exact share may seem off: each worker counts for itself, and the first and the last
# requests of the time looked at are not the first and last of a hundred.
SHARE_TOLERANCE: Final = 0.01
EXIT_LOST: Final = 1
EXIT_INTERRUPTED: Final = 130


def run() -> int:
    """The whole demonstration. Returns 0 only if nothing was lost. Call it from the main thread."""
    display = Display()
    with _interruptible(), Stage() as stage:
        try:
            with display:
                return Story(stage, display).play()
        except StageError as error:
            stage.keep = True
            display.error(f"{error}\nThe logs are in {stage.directory}.")
            return EXIT_LOST
        except KeyboardInterrupt:
            display.error("Interrupted; everything that was started has been stopped.")
            return EXIT_INTERRUPTED


class Story:
    def __init__(self, stage: Stage, display: Display) -> None:
        self._stage = stage
        self._display = display
        self._ledger = Ledger()
        self._results: list[ResultReader] = []
        self._surprises: list[str] = []
        self._url = f"http://127.0.0.1:{stage.admin}"

    def play(self) -> int:
        """All steps in order, then the books. Returns the exit code."""
        self._open()
        for step in (
            self._health_gate,
            self._preview,
            self._canary,
            self._switch,
            self._rollback,
            self._break,
            self._hold,
            self._kill_worker,
            self._kill_controller,
            self._burst,
        ):
            step()
        return self._close()

    # The steps

    def _open(self) -> None:
        stage = self._stage
        stage.start_apps("blue")
        stage.start_proxy()
        self._until(stage.is_ready, "bgproxy to be ready")
        self._until(lambda: self._healthy("blue"), "blue to be healthy")
        self._ledger.changes.append(Change(Kind.START, 0.0, 0.0, frozenset({SIDES["blue"]})))
        self._load("load", stage.public, clients=CLIENTS, think_s=THINK_S)
        self._until(lambda: bool(self._ledger.requests), "the load's first answers")
        self._display.title(
            f"bgproxy with {WORKERS} workers; {CLIENTS} clients on http://127.0.0.1:{stage.public}, half of "
            f"their requests POST; blue runs v1 and is active, green is not there yet."
        )

    def _health_gate(self) -> None:
        self._display.step(
            "Health gate: a switch to a side that is not proven healthy is refused", self._curl("switch")
        )
        self._refused(self._stage.call("POST", "/admin/switch"))
        self._stage.start_apps("green")
        began = time.monotonic()
        self._until(lambda: self._healthy("green"), "green to be healthy")
        self._display.saw(
            f"green (v2) was started and is proven healthy {_ms(time.monotonic() - began)} later"
        )

    def _preview(self) -> None:
        stage = self._stage
        self._display.step(
            "Preview: testers reach the idle side first", f"curl http://127.0.0.1:{stage.preview}/version"
        )
        began = time.monotonic()
        self._load("preview-load", stage.preview, clients=PREVIEW_CLIENTS, think_s=THINK_S, preview=True)
        self._observe(1.0)
        stage.stop("preview-load")
        self._observe(0)
        seen = self._ledger.per_version(each for each in self._ledger.requests if each.preview)
        public = self._ledger.per_version(self._ledger.between(began, time.monotonic()))
        self._expect(
            set(seen) == {"v2"} and set(public) == {"v1"},
            f"preview listener: {_counts(seen)}; public listener at the same time: {_counts(public)}",
        )

    def _canary(self) -> None:
        for weight, seconds in ((10, 3.0), (50, 2.0)):
            body = {"weight": weight}
            self._display.step(
                f"Canary: {weight} % of the requests go to green, counted, not diced",
                self._curl("canary", body, method="PUT"),
            )
            answer = self._change(Kind.CANARY, {"v1", "v2"}, "PUT", "/admin/canary", body)
            self._observe(seconds)
            self._judge_share(weight / 100, answer.acked, time.monotonic())

    def _judge_share(self, wanted: float, begin: float, end: float) -> None:
        requests = self._ledger.between(begin, end)
        self._read_journals()
        count = len(requests)
        by_clients = self._ledger.per_version(requests)["v2"]
        processed = self._ledger.processed_by(requests)
        by_apps = sum(number for name, number in processed.items() if name.startswith("green"))
        self._expect(
            count > 0 and abs(by_clients / count - wanted) <= SHARE_TOLERANCE and by_apps == by_clients,
            f"{by_clients} of {count} answers came from v2 ({by_clients / max(count, 1):.1%}); "
            f"green's own journals have {by_apps} of them",
        )

    def _switch(self) -> None:
        self._display.step("Switch: all traffic to green, by one store in memory", self._curl("switch"))
        self._cutover("green", "switch")

    def _rollback(self) -> None:
        self._display.step("Rollback: back to where traffic was before", self._curl("rollback"))
        self._cutover("blue", "rollback")

    def _break(self) -> None:
        stage = self._stage
        ports = [port for name, port in stage.apps.items() if name.startswith("green")]
        self._display.step(
            "Green breaks: its health checks fail, so it gets no traffic",
            "; ".join(f"curl -X POST http://127.0.0.1:{port}/break" for port in ports),
            self._curl("switch"),
        )
        self._tell_green("/break")
        self._until(self._green_is_broken, "green to be found unhealthy")
        self._refused(stage.call("POST", "/admin/switch"))
        self._tell_green("/mend")
        self._until(lambda: self._healthy("green"), "green to be healthy again")
        self._display.saw("mended with POST /mend, green is healthy again")

    def _hold(self) -> None:
        body = {"hold": "2s"}
        self._display.step(
            "Hold cutover: new requests wait until blue has answered its last, so that v1 and v2 never overlap",
            self._curl("switch", body),
        )
        answer = self._change(Kind.HOLD, {"v2"}, "POST", "/admin/switch", body)
        self._observe(1.0)
        since = self._ledger.between(answer.sent, time.monotonic())
        failed = sum(not each.ok for each in since)
        # Green answers what came before the acknowledgement: that has waited for blue.
        waited = [
            each.ended - each.started
            for each in since
            if each.started < answer.acked and each.version == SIDES["green"] and each.path != "/slow"
        ]
        self._expect(
            bool(waited) and not failed,
            f"blue was empty after {_ms(answer.body['held_milliseconds'] / 1000)}; {len(waited)} requests "
            f"waited, the longest {_ms(max(waited, default=0.0))}, and {failed} failed",
        )

    def _kill_worker(self) -> None:
        victim = self._status()["workers"][0]["pid"]
        self._display.step(
            "A worker is killed: what is in flight inside it is lost, nothing else", f"kill -9 {victim}"
        )
        crash = kill(victim)
        self._ledger.crashes.append(crash)
        self._until(lambda: self._serving(without=victim), "another worker to take its place")
        replaced_s = time.monotonic() - crash.sent
        self._observe(1.0)
        errors = len(self._ledger.errors())
        self._expect(
            errors == 0,
            f"{len(self._ledger.lost_in_crash())} requests were inside it, {errors} others failed; "
            f"another worker served within {_ms(replaced_s)}",
        )

    def _kill_controller(self) -> None:
        victim = self._status()["controller"]["pid"]
        self._display.step(
            "The controller is killed: traffic goes on without it", f"kill -9 {victim}", self._curl("switch")
        )
        began = kill(victim).gone
        self._until(lambda: self._status()["controller"]["pid"] != victim, "another controller")
        back = time.monotonic()
        self._observe(0.5)
        meanwhile = self._ledger.between(began, back)
        self._expect(
            bool(meanwhile) and all(each.ok for each in meanwhile),
            f"{len(meanwhile)} requests were answered in the {_ms(back - began)} without a controller",
        )
        target = self._status_of_service()["idle"]
        self._until(lambda: self._healthy(target), f"{target} to be proven healthy by the new controller")
        self._cutover(target, "switch")

    def _burst(self) -> None:
        self._display.step(f"{BURST} switches in a row, to and fro, under load", self._curl("switch"))
        before = len(self._ledger.changes)
        for _ in range(BURST):
            self._change(Kind.SWITCH, {SIDES[self._status_of_service()["idle"]]}, "POST", "/admin/switch")
            self._observe(BURST_PAUSE_S)
        acks = sorted(change.acked - change.sent for change in self._ledger.changes[before:])
        stale = len(self._ledger.stale())
        self._expect(
            stale == 0 and not self._ledger.errors(),
            f"acknowledged within p50 {_ms(quantile(acks, 0.5))}, max {_ms(acks[-1])}; so far {stale} stale "
            f"answers and {len(self._ledger.errors())} errors",
        )

    def _close(self) -> int:
        self._observe(0.5)
        self._stage.stop("load")
        self._observe(0)
        self._stage.stop("bgproxy")
        self._stage.stop(*self._stage.apps)
        self._read_journals()
        good, sentence = report.verdict(self._ledger, self._surprises)
        self._display.summary(report.rows(self._ledger), sentence, good=good)
        if not good:
            self._stage.keep = True
            self._display.error(f"The books and logs are in {self._stage.directory}.")
        return 0 if good else EXIT_LOST

    # What the steps are made of

    def _cutover(self, side: str, verb: str) -> None:
        answer = self._change(Kind.SWITCH, {SIDES[side]}, "POST", f"/admin/{verb}")
        self._observe(1.0)
        after = self._ledger.per_version(self._ledger.between(answer.acked, time.monotonic()))
        self._expect(
            set(after) == {SIDES[side]},
            f"acknowledged after {_ms(answer.acked - answer.sent)}; since then: {_counts(after)}",
        )

    def _change(
        self, kind: Kind, versions: set[str], method: str, path: str, body: dict[str, Any] | None = None
    ) -> Answer:
        """A change that has to succeed, written into the books with its times."""
        answer = self._stage.call(method, path, body)
        if answer.status != 200:
            raise StageError(f"{method} {path} was refused with {answer.status}: {answer.body}")
        self._ledger.changes.append(Change(kind, answer.sent, answer.acked, frozenset(versions)))
        return answer

    def _refused(self, answer: Answer) -> None:
        reasons = ", ".join(
            f"{each['upstream']} {each['reason']}"
            for each in answer.body.get("upstreams", ())
            if each["health"] != "healthy"
        )
        self._expect(answer.status == 409, f"{answer.status} {answer.body.get('title', '')}: {reasons}")

    def _tell_green(self, path: str) -> None:
        for name in self._stage.apps:
            if name.startswith("green"):
                self._stage.call_app(name, path)

    def _expect(self, is_so: bool, seen: str) -> None:  # noqa: FBT001 - read as a sentence
        if not is_so:
            self._surprises.append(seen)
        self._display.saw(seen, good=is_so)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > until:
                raise StageError(f"waited {WAIT_S:g} s for {what}, in vain")
            self._observe(POLL_S)

    def _observe(self, seconds: float) -> None:
        """Lets time pass, reads what the loads report, and shows it."""
        until = time.monotonic() + seconds
        while True:
            self._stage.check_alive()
            now = time.monotonic()
            for results in self._results:
                self._ledger.add(results.read())
            self._show(now)
            if now >= until:
                return
            time.sleep(min(POLL_S, until - now))

    def _show(self, now: float) -> None:
        recent = self._ledger.recent(now - 1.0)
        versions = self._ledger.per_version(recent)
        total = max(sum(versions.values()), 1)
        self._display.status(
            answered=len(self._ledger.requests),
            per_second=len(recent),
            shares={version: versions[version] / total for version in SIDES.values()},
            errors=len(self._ledger.errors()),
        )

    def _load(self, name: str, port: int, *, clients: int, think_s: float, preview: bool = False) -> None:
        path = self._stage.start_load(name, port, clients=clients, think_s=think_s, preview=preview)
        self._results.append(ResultReader(path))

    def _read_journals(self) -> None:
        self._ledger.journal.clear()
        for name in self._stage.apps:
            self._ledger.add_journal(name, self._stage.journal(name))

    # What bgproxy says about itself

    def _status(self) -> dict[str, Any]:
        return self._stage.call("GET", "/admin/status").body

    def _status_of_service(self) -> dict[str, Any]:
        service: dict[str, Any] = self._status()["services"][0]
        return service

    def _healthy(self, side: str) -> bool:
        return bool(self._status_of_service()["pools"][side]["healthy"])

    def _green_is_broken(self) -> bool:
        upstreams = self._status_of_service()["pools"]["green"]["upstreams"]
        return all(each["health"] == "unhealthy" for each in upstreams)

    def _serving(self, *, without: int) -> bool:
        workers = [
            each for each in self._status()["workers"] if each["state"] == "serving" and each["current"]
        ]
        return len(workers) == WORKERS and without not in {each["pid"] for each in workers}

    def _curl(self, verb: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> str:
        data = "" if body is None else f" -d '{json.dumps(body)}'"
        return f"curl -X {method} {self._url}/admin/{verb}{data}"


# Private


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP end the demonstration as ^C does."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def _counts(versions: Counter[str]) -> str:
    return ", ".join(f"{count:,} by {version}" for version, count in sorted(versions.items())) or "nothing"
