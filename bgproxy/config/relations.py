"""What no setting can tell by itself: names that must exist, addresses that must differ.

Works on the plain data of the file, not on validated settings, so that these errors show up together
with all others. What is not of the right shape is passed over here: the schema reports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from bgproxy import model
from bgproxy.config.address import Address, parse_address
from bgproxy.config.document import Location, dotted

Finding = tuple[Location, str]

_REMEDY = "give one of the two another host or path"
_HTTP_ONLY = ("path", "method", "host", "headers", "expect_status", "expect_body")


def check(data: object) -> Iterator[Finding]:
    file = _mapping(data)
    services = _mapping(file.get("services"))
    yield from _binds(file)
    yield from _admin(_mapping(file.get("admin")))
    yield from _state(_mapping(file.get("state")))
    for name, service in services.items():
        yield from _service(("services", name), _mapping(service))
    yield from _tcp(file, services)
    yield from _routes({name: each for name, each in services.items() if name not in _tcp_services(file)})
    yield from _preview_hosts(services)
    yield from _groups(_mapping(file.get("groups")), services)


def did_you_mean(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(known)}"


# Private


def _binds(file: dict[str, object]) -> Iterator[Finding]:
    names: set[str] = set()
    taken: dict[Address, str] = {}
    for index, item in enumerate(_list(file.get("listeners"))):
        listener = _mapping(item)
        location: Location = ("listeners", index)
        name = listener.get("name")
        if isinstance(name, str):
            if name in names:
                yield (*location, "name"), f"{name!r} is the name of a listener above: choose another"
            names.add(name)
        yield from _bind(listener.get("bind"), (*location, "bind"), taken)
    yield from _bind(_mapping(file.get("admin")).get("bind"), ("admin", "bind"), taken)


def _bind(value: object, location: Location, taken: dict[Address, str]) -> Iterator[Finding]:
    address = _address(value)
    if address is None or (address.path is None and address.port == 0):
        return
    if address in taken:
        yield location, f"{value!r} is already bound by {taken[address]}: choose another port or address"
    taken.setdefault(address, dotted(location[:-1]))


def _admin(admin: dict[str, object]) -> Iterator[Finding]:
    address = _address(admin.get("bind"))
    tokens = _list(admin.get("tokens"))
    if address is not None and not address.is_loopback and not admin.get("tokens"):
        message = (
            "can be reached from other machines, and without tokens whoever reaches it can move traffic: "
            "add admin.tokens, or bind it to 127.0.0.1 or unix:/path"
        )
        yield ("admin", "bind"), message
    names: set[str] = set()
    for index, item in enumerate(tokens):
        token = _mapping(item)
        yield from _exactly_one(token, ("admin", "tokens", index), "token_env", "token_file")
        name = token.get("name")
        if isinstance(name, str):
            if name in names:
                yield (
                    ("admin", "tokens", index, "name"),
                    f"{name!r} is the name of a token above: the history could not tell them apart",
                )
            names.add(name)


def _state(state: dict[str, object]) -> Iterator[Finding]:
    if state.get("backend") == "memory" and "path" in state:
        yield ("state", "path"), "belongs to backend: sqlite, memory keeps no file: remove it"


def _service(location: Location, service: dict[str, object]) -> Iterator[Finding]:
    pools = _mapping(service.get("pools"))
    active = service.get("active")
    if isinstance(active, str) and pools and active not in pools:
        yield (
            (*location, "active"),
            f"{active!r} is not a pool of this service: {did_you_mean(active, list(pools))}",
        )
    if isinstance(service.get("pools"), dict) and len(pools) != 2:
        yield (*location, "pools"), f"has {len(pools)} entries instead of 2: one to serve, one to prepare"
    for name, pool in pools.items():
        yield from _addresses((*location, "pools", name, "upstreams"), _mapping(pool).get("upstreams"))
    yield from _health((*location, "health"), _mapping(service.get("health")))
    sticky = service.get("sticky")
    if isinstance(sticky, dict):
        yield from _exactly_one(sticky, (*location, "sticky"), "cookie", "header")
    header = _mapping(service.get("preview")).get("header")
    if isinstance(header, dict):
        yield from _exactly_one(header, (*location, "preview", "header"), "value_env", "value_file")

    if service.get("hash_on") is not None and service.get("balance") != model.Balance.HASH:
        yield (*location, "hash_on"), "belongs to balance: hash: add that, or remove this"
    tls = _mapping(service.get("upstream_tls"))
    if ("cert" in tls) != ("key" in tls):
        yield (*location, "upstream_tls"), "needs `cert` and `key`, or neither of them"


def _tcp_services(file: dict[str, object]) -> set[object]:
    """The services that TCP listeners lead to: no request reaches them by host and path."""
    listeners = (_mapping(listener) for listener in _list(file.get("listeners")))
    return {each.get("service") for each in listeners if each.get("protocol") == model.Protocol.TCP}


def _tcp(file: dict[str, object], services: dict[str, object]) -> Iterator[Finding]:
    for index, item in enumerate(_list(file.get("listeners"))):
        listener = _mapping(item)
        location: Location = ("listeners", index)
        service = listener.get("service")
        if listener.get("protocol") != model.Protocol.TCP:
            if service is not None:
                yield (
                    (*location, "service"),
                    "belongs to protocol: tcp: an http listener routes by host and path",
                )
        elif service is None:
            yield location, "is protocol: tcp without a service: add the one that its connections go to"
        elif isinstance(service, str) and service not in services:
            yield (
                (*location, "service"),
                f"{service!r} is not a service: {did_you_mean(service, list(services))}",
            )
    for name in _tcp_services(file) & set(services):
        for key in ("hosts", "paths", "sticky", "mirror", "error_pages", "headers"):
            if key in _mapping(services[str(name)]):
                yield (
                    ("services", str(name), key),
                    "belongs to HTTP, and a tcp listener leads to this service: remove it, or use two services",
                )


def _addresses(location: Location, upstreams: object) -> Iterator[Finding]:
    """One address may be in both pools, which share a fleet then, but only once in each."""
    seen: set[Address] = set()
    for index, upstream in enumerate(_list(upstreams)):
        value = _mapping(upstream).get("address") if isinstance(upstream, dict) else upstream
        address = _address(value)
        if address is None:
            continue
        if address in seen:
            yield (*location, index), f"{value!r} is already in this pool: give it a weight instead"
        seen.add(address)


def _health(location: Location, health: dict[str, object]) -> Iterator[Finding]:
    kind = health.get("kind", model.HealthCheck().kind)
    if kind not in ("http", "tcp", "command"):
        return
    for key in health:
        owner = "http" if key in _HTTP_ONLY else "command" if key == "command" else kind
        if owner != kind:
            yield (*location, key), f"belongs to kind: {owner}, this check is kind: {kind}: remove it"
    if kind == "command" and not health.get("command"):
        yield location, 'is kind: command without one: add command: ["/path/to/program", "{address}"]'


def _routes(services: dict[str, object]) -> Iterator[Finding]:
    claims: dict[tuple[str, str], tuple[str, int, int]] = {}
    for name, item in services.items():
        service = _mapping(item)
        hosts, paths = service.get("hosts", []), service.get("paths", ["/"])
        if not isinstance(hosts, list) or not isinstance(paths, list):
            continue
        for host_index, host in enumerate(hosts or [""]):
            for path_index, path in enumerate(paths):
                if not isinstance(host, str) or not isinstance(path, str):
                    continue
                claim = (name, host_index, path_index)
                first = claims.setdefault((host.lower(), path), claim)
                if first == claim:
                    continue
                owner, owner_host_index, _ = first
                by_host = ("services", name, "hosts", host_index)
                by_path = ("services", name, "paths", path_index)
                if owner != name and hosts:
                    yield by_host, f"{host!r} with path {path!r} leads to services.{owner} already: {_REMEDY}"
                elif owner != name:
                    yield by_path, f"{path!r} for any host leads to services.{owner} already: {_REMEDY}"
                elif owner_host_index != host_index:
                    yield by_host, f"{host!r} is written twice: keep one"
                else:
                    yield by_path, f"{path!r} is written twice: keep one"


def _preview_hosts(services: dict[str, object]) -> Iterator[Finding]:
    live: dict[str, str] = {}
    for name, service in services.items():
        for host in _list(_mapping(service).get("hosts")):
            if isinstance(host, str):
                live.setdefault(host.lower(), name)
    previews: dict[str, str] = {}
    for name, service in services.items():
        for index, host in enumerate(_list(_mapping(_mapping(service).get("preview")).get("hosts"))):
            if not isinstance(host, str):
                continue
            location: Location = ("services", name, "preview", "hosts", index)
            if host.lower() in live:
                owner = live[host.lower()]
                yield (
                    location,
                    f"{host!r} is a live host of services.{owner}: a preview needs a host of its own",
                )
            elif host.lower() in previews:
                owner = previews[host.lower()]
                yield location, f"{host!r} is already a preview host of services.{owner}: choose another"
            previews.setdefault(host.lower(), name)


def _groups(groups: dict[str, object], services: dict[str, object]) -> Iterator[Finding]:
    member_of: dict[str, str] = {}
    for group, members in groups.items():
        for index, name in enumerate(_list(members)):
            location: Location = ("groups", group, index)
            if not isinstance(name, str):
                continue
            if name not in services:
                yield location, f"{name!r} is not a service: {did_you_mean(name, list(services))}"
            elif member_of.get(name) == group:
                yield location, f"{name!r} is written twice: keep one"
            elif name in member_of:
                yield (
                    location,
                    f"{name!r} is already in groups.{member_of[name]}: a service switches with one group only",
                )
            member_of.setdefault(name, group)


def _exactly_one(settings: dict[str, object], location: Location, one: str, other: str) -> Iterator[Finding]:
    given = [key for key in (one, other) if settings.get(key) is not None]
    if not given:
        yield location, f"needs `{one}` or `{other}`"
    elif len(given) == 2:
        yield (*location, other), f"cannot go together with `{one}`: remove one of the two"


def _address(value: object) -> Address | None:
    try:
        return parse_address(value, any_port=True) if isinstance(value, str) else None
    except ValueError:
        return None


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
