"""The programs that are measured and the backend behind them, each as real processes on given cores.

Every proxy gets what a careful operator would give it in production, and does the same work: kept-alive
connections on both sides, HTTP/1.1 to the backend, Host as it came, X-Forwarded-For and -Proto, active health
checks where it has them, no access log unless that is what is measured. None is tuned for the benchmark alone.
"""

from typing import Final

from benchmarks.contenders.behind import backend
from benchmarks.contenders.bgproxy_yaml import BGPROXY, COMPILED
from benchmarks.contenders.caddyfile import CADDY
from benchmarks.contenders.envoy_yaml import ENVOY
from benchmarks.contenders.haproxy_cfg import HAPROXY
from benchmarks.contenders.naive import NAIVE
from benchmarks.contenders.nginx_conf import NGINX
from benchmarks.contenders.process import ContenderError
from benchmarks.contenders.program import Backend, Place, Program
from benchmarks.contenders.serving import Contender, bgproxy, contender, nginx
from benchmarks.contenders.traefik_yaml import TRAEFIK

# The two that matter most stand next to each other: the less time between them, the better they compare.
FIELD: Final = (NGINX, BGPROXY, COMPILED, HAPROXY, ENVOY, CADDY, TRAEFIK, NAIVE)
PROGRAMS: Final = {program.name: program for program in FIELD}

__all__ = [
    "FIELD",
    "PROGRAMS",
    "Backend",
    "Contender",
    "ContenderError",
    "Place",
    "Program",
    "backend",
    "bgproxy",
    "contender",
    "nginx",
]
