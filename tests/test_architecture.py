"""The import floors (docs/architecture.md) and the rules that only reading the source can check."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

FLOORS: dict[str, int] = {
    "search_spaces": 0,
    "nas": 1, "nas.base": 1,
    "nas.networks": 2, "nas.data": 2, "nas.budgets": 2, "nas.workers": 2,
    "nas.attacks": 3,
    "nas.measures": 4,
    "nas.pareto": 5,
    "nas.evaluation": 6, "nas.training": 6, "nas.search": 6,
    "nas.assets": 7,
    "nas.report": 8,
    "nas.runs": 9,
    "nas.timing": 10, "nas.studies": 10, "nas.export": 10,
    "nas.page": 11, "nas.testing": 11,
    "nas.api": 12, "nas.cli": 12, "nas.__main__": 13,
}  # fmt: skip
"""Floor of every folder: it imports from lower ones and from itself."""

MAX_LINES = 400
INTEGERS_ONLY = (
    "__init__",
    "row_choices",
    "pruned",
    "space",
    "spec",
    "mobilenet_tiny",
    "mlperf_tiny",
    "presets",
    "tiny_blocks",
)
"""Modules of search_spaces that describe networks without torch, so that counting stays instant."""
GLOBAL_SEEDS = ("torch.manual_seed", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all",
                "np.random.seed", "numpy.random.seed", "random.seed")  # fmt: skip
NO_TEXT = ("Image.open", "os.open")
"""Calls of the name `open` that open no text."""
UNPICKLING = ("torch.load", "torch.save", "yaml.load", "numpy.load", "np.load", "joblib.load")

FILES = sorted(path for package in ("nas", "search_spaces") for path in (ROOT / package).rglob("*.py"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


@cache
def source_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree(source: str) -> ast.Module:
    """`source` parsed once for all tests; only to be read."""
    return ast.parse(source)


def module_of(path: Path) -> str:
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def part_of(module: str) -> str:
    """The entry of FLOORS that `module` belongs to: its first two names, or its first."""
    return next(part for part in (".".join(module.split(".")[:2]), module.split(".")[0]) if part in FLOORS)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but the bodies of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and _is_type_checking(child):
            for other in child.orelse:
                yield from _nodes(other)
        else:
            yield child
            yield from _nodes(child)


def imports_of(path: Path, source: str | None = None) -> set[str]:
    """Full names of the modules that `path` imports when it runs, at any depth."""
    found = set()
    for node in _nodes(tree(source if source is not None else source_of(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: relative imports hide the floor"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


MODULES = {module_of(path) for path in FILES}


def violation(module: str, imported: str) -> str | None:
    """Why `module` may not import `imported` (both of this project), None where it may."""
    importer, target = part_of(module), part_of(imported)
    if importer == target or FLOORS[target] < FLOORS[importer]:
        return None
    return f"{module} (floor {FLOORS[importer]}) imports {imported} (floor {FLOORS[target]})"


def project_imports(path: Path) -> set[str]:
    return {name for name in imports_of(path) if name.split(".")[0] in ("nas", "search_spaces")}


@each_file
def test_imports_go_downward_only(path: Path) -> None:
    module = module_of(path)
    broken = [text for name in sorted(project_imports(path)) if (text := violation(module, name))]
    assert not broken, "\n".join(broken)


def test_the_floor_check_sees_upward_and_sideways_imports() -> None:
    source = "def f():\n    from nas.runs import search\nif TYPE_CHECKING:\n    from nas.cli import app\n"
    assert imports_of(Path("x"), source) == {"nas.runs"}
    assert violation("nas.runs.trial", "nas.cli.options")
    assert violation("nas.budgets.costs", "nas.data")
    assert violation("search_spaces.spec", "nas.base.errors")
    assert not violation("nas.search.engine", "nas.workers.local")
    assert not violation("nas.data.split", "nas.base.seeding")


def test_every_module_has_a_floor_and_every_floor_a_module() -> None:
    unplaced = [module for module in MODULES if part_of(module) == "nas" and module != "nas"]
    assert not unplaced, f"give these a floor: {unplaced}"
    assert FLOORS.keys() <= MODULES, f"no such modules: {FLOORS.keys() - MODULES}"


@pytest.mark.parametrize("pair", [("nas.training", "nas.evaluation"), ("nas.evaluation", "nas.training")])
def test_training_and_evaluation_never_import_each_other(pair: tuple[str, str]) -> None:
    importer, other = pair
    assert not [
        path for path in FILES
        if part_of(module_of(path)) == importer and other in map(part_of, project_imports(path))
    ]  # fmt: skip


def test_the_search_knows_nothing_of_training() -> None:
    above = {"nas.training", "nas.evaluation", "nas.attacks", "nas.networks", "nas.data"}
    for path in FILES:
        if part_of(module_of(path)) == "nas.search":
            assert above.isdisjoint(map(part_of, project_imports(path))), path


def test_all_candidates_run_through_the_one_loop() -> None:
    above = [path for path in FILES if part_of(module_of(path)) != "nas.workers"]
    assert [module_of(path) for path in above if "executor.collect(" in source_of(path)] == ["nas.search.loop"]


INSIDE_NETWORKS = {"build_network", "layers_of", "state_dict", "load_state_dict", "features", "classifier"}
"""What a network is made of."""


def insides_of_networks(source: str) -> list[str]:
    """Functions and attributes of INSIDE_NETWORKS that `source` uses."""
    nodes = list(ast.walk(tree(source)))
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    return sorted(INSIDE_NETWORKS & (called | {node.attr for node in nodes if isinstance(node, ast.Attribute)}))


@each_file
def test_only_networks_knows_what_a_network_is_made_of(path: Path) -> None:
    if part_of(module_of(path)) not in ("nas.networks", "search_spaces", "nas.testing"):
        assert insides_of_networks(source_of(path)) == []


def test_the_check_of_insides_sees_calls_and_attributes() -> None:
    assert insides_of_networks("build_network(spec)\nnet.features[0]") == ["build_network", "features"]
    assert insides_of_networks("features = 3\n'classifier'") == []


def test_every_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in tree(source_of(path)).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module_of(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_search_spaces_never_import_nas() -> None:
    for path in FILES:
        if part_of(module_of(path)) == "search_spaces":
            assert "nas" not in {name.split(".")[0] for name in imports_of(path)}, path


@pytest.mark.parametrize("name", INTEGERS_ONLY)
def test_describing_a_space_needs_the_standard_library_only(name: str) -> None:
    tops = {imported.split(".")[0] for imported in imports_of(ROOT / "search_spaces" / f"{name}.py")}
    assert tops <= sys.stdlib_module_names | {"search_spaces"}


@each_file
def test_files_stay_short(path: Path) -> None:
    assert len(source_of(path).splitlines()) <= MAX_LINES


@each_file
def test_nothing_unpickles_and_nothing_seeds_globally(path: Path) -> None:
    imported = {name.split(".")[0] for name in imports_of(path)}
    if module_of(path) == "nas.testing.spaces":  # a test that a space goes to worker processes, on bytes of its own
        imported.remove("pickle")
    assert imported.isdisjoint({"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"})
    for node in ast.walk(tree(source_of(path))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in GLOBAL_SEEDS, f"line {node.lineno}: {called} changes the global random state"
            assert called not in UNPICKLING, f"line {node.lineno}: {called} may unpickle"


def text_without_encoding(source: str) -> list[int]:
    """Lines that read or write text in whatever encoding the locale has."""
    found = []
    for node in ast.walk(tree(source)):
        if not isinstance(node, ast.Call):
            continue
        called, named = ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
        name = called.rsplit(".", 1)[-1]
        modes = [a.value for a in (*node.args, *named.values()) if isinstance(a, ast.Constant)]
        opens = name == "open" and called not in NO_TEXT and not any("b" in m for m in modes if isinstance(m, str))
        reads = name in ("read_text", "write_text") or (name in ("run", "Popen") and ("text" in named))
        if (opens or reads) and "encoding" not in named:
            found.append(node.lineno)
    return found


@each_file
def test_text_has_an_encoding_that_no_locale_changes(path: Path) -> None:
    assert text_without_encoding(source_of(path)) == []


def test_the_check_of_encodings_sees_every_way_to_open_a_text() -> None:
    refused = ["p.read_text()", "p.write_text('')", "open(p)", "p.open('a')", "run('x', text=True)"]
    allowed = ["p.read_bytes()", "p.open('rb')", "open(p, mode='wb')", "p.open('a', encoding='utf-8')", "Image.open(p)"]
    assert text_without_encoding("\n".join([*allowed, *refused])) == [6, 7, 8, 9, 10]
