"""Imports go one way, and heavy packages stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lightning_smooth"
ORDER = [
    {"errors", "types", "_version", "allocator", "arithmetic"},
    {"maths"},
    {"records", "transforms"},
    {"models"},
    {"interpolation", "smoothing", "defenses"},
    {"variation"},
    {"certify"},
    {"verify", "attacks"},
    {"metrics", "report", "data", "modules"},
    {"callbacks"},
    {"launch"},
    {"folders", "experiment"},
    {"trainer", "parser"},
    {"cli"},
    {"__main__", "__init__"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
ONLY = {
    "pytorch_lightning": {
        "data",
        "modules",
        "callbacks",
        "launch",
        "folders",
        "trainer",
        "parser",
        "cli",
    },
    "wandb": {"callbacks"},
    "torch": set(LEVEL) - {"errors", "types", "maths", "records", "report", "__main__"},
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))
SHARED = {"errors", "types", "_version", "allocator", "arithmetic"}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Modules that are imported when the file is, without those for the type checker."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    here = room(path)
    assert here in LEVEL, f"{here} is a new room: give it a place in ORDER"
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "lightning_smooth" and rest and rest[0] != here:
            assert rest[0] in LEVEL
            assert LEVEL[rest[0]] < LEVEL[here], f"{path.name} imports {name}"
        elif top in ONLY:
            assert here in ONLY[top], f"{here} may not import {top}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 450
    assert len(path.relative_to(PACKAGE).parts) <= 3


@pytest.mark.parametrize("name", ["report", "records.store", "maths.radius", "__main__"])
def test_light_rooms_load_neither_torch_nor_lightning(name):
    code = (
        f"import sys, lightning_smooth.{name}\n"
        "heavy = {'torch', 'pytorch_lightning', 'wandb'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_are_there():
    import lightning_smooth

    for name in lightning_smooth.__all__:
        assert getattr(lightning_smooth, name) is not None
    with pytest.raises(AttributeError):
        lightning_smooth.nonsense  # noqa: B018
