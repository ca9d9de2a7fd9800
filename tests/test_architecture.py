"""The layers of the package: a module imports only from lower rows, or from lower modules of its own package."""

import ast
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rlflow"

# From top to bottom; the names are those directly below `rlflow`.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"supervisor"},
    {"api", "trading", "agents", "history"},
    {"data", "exchange", "environments", "models"},
    {"features", "tape", "recordings"},
    {"session", "fills", "fees"},
    {"orderbook"},
    {"kalshi"},
    {"config", "metrics", "environ"},
    {"units", "errors", "setting_values", "venues", "key_file"},
)
# The same for the packages and modules of `rlflow.data`.
DATA_LAYERS = (
    {"following", "upkeep", "imports"},
    {"history", "sheets"},
    {"orderbook_client", "orderbook_state", "write_queue", "stores", "database_thread"},
    {"database"},
    {"books", "writer"},
    {"feed", "journal", "store", "embedded", "rest", "persevering"},
    {"backoff", "tls", "lock"},
)
PURE = {"kalshi", "orderbook", "session", "fills", "fees", "features", "tape"}
# What would give a pure module a clock, a socket, a database or a random source.
IMPURE = {"trio", "psycopg", "socket", "ssl", "time", "random", "secrets", "asyncio", "threading", "subprocess", "os"}
TOP_LEVEL = {"rlflow", "tests", "schema.sql", "pyproject.toml", "README.md", "justfile"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of the modules that a module imports at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if is_module(full) else node.module


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def row(part: str, layers: Sequence[set[str]] = LAYERS) -> int:
    rows = [number for number, layer in enumerate(layers) if part in layer]
    assert rows, f"{part} stands in no layer"
    return rows[0]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_from_below(path: Path) -> None:
    name = module_name(path)
    if name == "rlflow":
        assert not [found for found in imports(path) if found.startswith("rlflow.")]
        return
    own = name.split(".")[1]
    for found in imports(path):
        if found.startswith("rlflow."):
            other = found.split(".")[1]
            assert other == own or row(other) > row(own), f"{name} imports {found}"


@pytest.mark.parametrize("path", [path for path in MODULES if "data" in path.parts], ids=module_name)
def test_a_part_of_data_imports_only_from_below(path: Path) -> None:
    own = module_name(path).split(".")[2:3]
    for found in imports(path) if own else ():
        if found.startswith("rlflow.data."):
            other = found.split(".")[2]
            assert own == [other] or row(other, DATA_LAYERS) > row(own[0], DATA_LAYERS), f"{path} imports {found}"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if module_name(path).split(".")[1:2] and module_name(path).split(".")[1] in PURE]
)
def test_the_pure_part_sees_no_clock_no_socket_and_no_chance(path: Path) -> None:
    assert not {found.split(".")[0] for found in imports(path)} & IMPURE


def test_imports_have_no_cycle() -> None:
    graph = {module_name(path): {found for found in imports(path) if is_module(found)} for path in MODULES}
    TopologicalSorter({name: found - {name} for name, found in graph.items()}).prepare()


def test_no_module_or_function_has_outgrown_its_idea() -> None:
    for path in MODULES:
        text = path.read_text()
        assert text.count("\n") <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


def test_the_service_never_imports_torch() -> None:
    for path in MODULES:
        if module_name(path).split(".")[1:2] != ["agents"]:
            assert not {found.split(".")[0] for found in imports(path)} & {"torch", "stable_baselines3"}


def test_the_top_level_holds_nothing_else() -> None:
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - {"build", "dist"} <= TOP_LEVEL
