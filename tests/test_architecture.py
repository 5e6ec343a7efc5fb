"""What may depend on what, read from the source: a design that is not checked is soon a wish."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "bgproxy"

# From what everything may import to what nothing may import. A package may import those of earlier rows.
ORDER: tuple[frozenset[str], ...] = (
    frozenset({"build", "errors", "model"}),
    frozenset({"tls"}),
    frozenset({"http1", "routing", "mirroring", "config", "shared_memory"}),
    frozenset({"observability"}),
    frozenset({"proxy", "health", "engines", "state"}),
    frozenset({"switch"}),
    frozenset({"admin_api"}),
    frozenset({"demo", "cli", "process", "__main__"}),
)
# And these of its own row.
NEIGHBOURS: dict[str, frozenset[str]] = {
    "routing": frozenset({"http1", "mirroring"}),  # decides by what a head says
    "mirroring": frozenset({"http1"}),  # compares what heads and bodies say
    "cli": frozenset({"demo", "process"}),  # `bgproxy demo` and `bgproxy run` start them
    "demo": frozenset({"process"}),
    "__main__": frozenset({"cli"}),
}
RANK = {package: rank for rank, row in enumerate(ORDER) for package in row}

# What serves requests starts in milliseconds and stays small, so that a worker can be replaced at any time.
DATA_PLANE = (
    "bgproxy.http1",
    "bgproxy.routing",
    "bgproxy.mirroring",
    "bgproxy.shared_memory",
    "bgproxy.proxy",
    "bgproxy.process.worker",
)
TOO_HEAVY = frozenset({"aiohttp", "pydantic", "yaml", "click", "rich"})

PURE = ("bgproxy.http1", "bgproxy.routing", "bgproxy.mirroring", "bgproxy.health.thresholds")
IMPURE = frozenset({"asyncio", "datetime", "random", "selectors", "socket", "threading", "time", "uvloop"})

# Tests of more than one module, with the reason why they have no module of their own.
WITHOUT_MODULE = {
    "test_architecture.py": "is about the source as a whole",
    "test_compiled.py": "is about a build of the package",
    "test_hatch_build.py": "is about how the package is built",
    "cli/test_against_bgproxy.py": "has the commands talk to a running bgproxy",
    "docs": "reads the pages, which are no part of the package",
    "clients": "has programs of others go through a running bgproxy",
    "ledger": "proves the invariants on a whole running bgproxy",
    "benchmarks": "mirrors benchmarks/, which is not part of the package",
}


@cache
def modules() -> dict[str, Path]:
    """Every module of bgproxy by its dotted name; a package by that of its __init__."""
    names = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def statements(tree: ast.AST, *, run_only: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a module, on request without those that only a type checker follows."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif run_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from statements(ast.Module([other], []), run_only=True)
        else:
            yield from statements(node, run_only=run_only)


@cache
def imports(module: str, *, run_only: bool) -> frozenset[str]:
    """The dotted names that a module imports: of bgproxy down to the module, of others as written."""
    found: set[str] = set()
    for node in statements(ast.parse(modules()[module].read_bytes()), run_only=run_only):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        else:
            assert node.level == 0, f"{module} imports relatively: name the whole path"
            assert node.module is not None
            of_package = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update([node.module, *(name for name in of_package if name in modules())])
    return frozenset(found)


def package(module: str) -> str:
    """The row entry that a module belongs to; "" for bgproxy itself."""
    return module.partition(".")[2].partition(".")[0]


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def loaded_by(module: str) -> dict[str, str]:
    """Everything that runs when a module is imported, each with the module that asked for it first."""
    asked = {module: module}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in modules():
            continue
        parents = {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)}
        for imported in imports(name, run_only=True) | parents:
            if imported not in asked:
                asked[imported] = name
                waiting.append(imported)
    return asked


def test_every_package_has_a_place_in_the_order() -> None:
    assert {package(module) for module in modules()} - {""} <= set(RANK)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_one_way(module: str) -> None:
    here = package(module)
    allowed = {name for name, rank in RANK.items() if here in RANK and rank < RANK[here]}
    allowed |= {"", here} | NEIGHBOURS.get(here, frozenset())
    wrong = {name for name in imports(module, run_only=False) if name.split(".")[0] == "bgproxy"}
    wrong = {name for name in wrong if package(name) not in allowed}
    assert not wrong, f"{module} may not import {sorted(wrong)}"


def test_the_shared_values_import_nothing_of_ours() -> None:
    for module in ("bgproxy.model", "bgproxy.errors"):
        assert not [name for name in imports(module, run_only=False) if name.startswith("bgproxy")]


@pytest.mark.parametrize("module", sorted(module for module in modules() if is_in(module, DATA_PLANE)))
def test_the_data_plane_loads_nothing_heavy(module: str) -> None:
    """Neither itself nor through what it imports."""
    heavy = {name: by for name, by in loaded_by(module).items() if name.split(".")[0] in TOO_HEAVY}
    assert not heavy, f"{module} loads {heavy}"


@pytest.mark.parametrize("module", sorted(module for module in modules() if is_in(module, PURE)))
def test_pure_code_has_no_clock_no_chance_and_no_io(module: str) -> None:
    impure = {name for name in imports(module, run_only=False) if name.split(".")[0] in IMPURE}
    assert not impure, f"{module} imports {sorted(impure)}"
    tree = ast.parse(modules()[module].read_bytes())
    assert not [node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]


@pytest.mark.parametrize("module", sorted(modules()))
def test_every_module_says_what_it_is_for(module: str) -> None:
    path = modules()[module]
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(path.read_bytes())), f"{module} has no docstring"


def test_tests_mirror_the_source() -> None:
    """tests/proxy/test_exchange.py and test_exchange_flow.py are both about bgproxy/proxy/exchange.py."""
    tests = REPOSITORY / "tests"
    strays = []
    for path in tests.rglob("test_*.py"):
        place = path.relative_to(tests)
        words = place.stem.removeprefix("test_").split("_")
        names = ("_".join(words[:count]) for count in range(1, len(words) + 1))
        listed = WITHOUT_MODULE.keys() & {str(place), place.parts[0]}
        if not listed and not any((SOURCE / place.with_name(f"{name}.py")).exists() for name in names):
            strays.append(str(place))
    assert not strays, f"{sorted(strays)}: rename each for its module, or list it with a reason"


def test_what_is_listed_as_an_exception_exists() -> None:
    assert not [name for name in WITHOUT_MODULE if not (REPOSITORY / "tests" / name).exists()]
