"""`python -m bgproxy.process` is the supervisor: how a process becomes one, and how it is asked to.

A small program of its own, so that the process that lives longest has imported the least.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import resource
import socket
import sys
from typing import Final

import bgproxy
from bgproxy.observability.logs import configure_logging
from bgproxy.process.child import Child
from bgproxy.process.plan import Plan
from bgproxy.process.supervisor import EXIT_CONFIG, Supervisor
from bgproxy.process.upgrade import facts, read_estate
from bgproxy.shared_memory import layout
from bgproxy.shared_memory.layout import SharedMemory
from bgproxy.shared_memory.wake import Bell

logger = logging.getLogger("bgproxy.supervisor")

EXIT_LISTEN: Final = 3

# More than one worker can serve; the hard limit of the system counts if it is lower.
DESCRIPTORS: Final = 1_048_576


def _tell_plan(config_path: str, control: socket.socket) -> int:
    from bgproxy.process import controller  # noqa: PLC0415 - the supervisor must not carry its imports

    return controller.tell_plan(config_path, control)


def ask_for_plan(config_path: str) -> tuple[str, Plan] | int:
    """Has a child read the configuration: its text and plan, or the exit code if it is wrong."""
    child = Child.fork("planner", lambda control: _tell_plan(config_path, control), ())
    child.control.setblocking(True)
    with child.control.makefile("rb") as lines:
        line = lines.readline()
    child.control.close()
    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    if code or not line:
        return code or EXIT_CONFIG
    message = json.loads(line)
    return message["text"], Plan.from_json(message["plan"])


def raise_descriptor_limit() -> None:
    """Every connection is a descriptor, and the usual soft limit of 1024 is meant for other programs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bgproxy.process")
    parser.add_argument("--config", help="the configuration file")
    parser.add_argument("--preflight", action="store_true", help="say what this program is, and end")
    parser.add_argument("--resume", type=int, help="descriptor of a predecessor's state")
    options = parser.parse_args(arguments)
    if options.preflight:
        print(facts(bgproxy.__version__))  # noqa: T201 - its output
        return 0
    configure_logging()
    # A collection writes to all that it looks at, which would no longer be shared with the children.
    gc.collect()
    gc.freeze()
    if options.resume is not None:
        return Supervisor.take_over(read_estate(options.resume)).serve()
    found = ask_for_plan(options.config)
    if isinstance(found, int):
        return found
    raise_descriptor_limit()
    bells = [Bell() for _ in range(layout.BLOCKS + 1)]
    supervisor = Supervisor(options.config, SharedMemory.create(), bells)
    try:
        supervisor.start(*found)
    except OSError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says it all
        return EXIT_LISTEN
    return supervisor.serve()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
