"""The map in code: which part of beowulf may import which, on the controller and in a job.

What runs on the controller (``cli``, ``runner``) never imports mpi4py; what runs
inside a job (``rank``, ``train``) never imports click or the runner. ``errors`` and
``job``, the contract between them, serve both.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from beowulf.cli.main import VERBS
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE = REPOSITORY / "beowulf"
JOBS = sorted((REPOSITORY / "jobs").glob("*/*.py"))

# They show that scripts of other frameworks start unchanged.
OF_OTHERS = {"ddp", "tensorflow"}

# What each part may import of beowulf, besides itself and the version.
MAY_IMPORT = {
    "errors": set(),
    "durable": set(),
    "limits": {"errors"},
    "job": {"errors", "durable"},
    "rank": {"errors", "durable", "job"},
    "train": {"errors", "durable", "job", "limits"},
    "measure": {"errors", "durable", "job"},
    "cluster": {"errors", "durable"},
    "transport": {"errors"},
    "runner": {"errors", "durable", "job", "cluster", "transport", "head", "limits"},
    "head": {"errors", "durable", "job"},
    "hardware": {"errors", "job", "cluster", "transport", "limits"},
    "lab": {"errors", "durable", "cluster", "transport"},
    "dashboard": {"errors", "job", "runner", "hardware"},
    "cli": {
        "errors", "durable", "job", "cluster", "transport", "runner", "hardware", "lab",
        "dashboard", "limits",
    },
}  # fmt: skip

# What each part may import from elsewhere, besides Python's own library.
MAY_USE: dict[str, set[str]] = {
    "errors": set(),
    "durable": set(),
    "limits": set(),
    "job": set(),
    "rank": set(),
    "train": {"mpi4py", "numpy", "torch", "matplotlib"},
    "measure": {"mpi4py", "numpy"},
    "cluster": {"tomli_w"},
    "transport": {"paramiko"},
    "runner": {"jinja2", "psutil", "tomli_w"},
    "head": set(),
    "hardware": {"matplotlib"},
    "lab": {"psutil"},
    "dashboard": set(),
    "cli": {"click", "rich"},
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)
MODULES += [PACKAGE / "errors.py", PACKAGE / "durable.py"]


def imported_by(path: Path) -> Iterator[str]:
    """Yield the full name of every module that a file imports, at its top or later on.

    What only a type checker reads counts too, inside beowulf: a part that needs
    another part's types depends on it.
    """
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where things come from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield _template_of(node.args[0])


def _template_of(name: ast.expr) -> str:
    """Return the plain beginning of a module name that is put together while running."""
    if isinstance(name, ast.JoinedStr):
        name = name.values[0]
    assert isinstance(name, ast.Constant), "import_module needs a name whose beginning is plain"
    return str(name.value)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def test_every_part_is_on_the_map() -> None:
    parts = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    parts |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert parts <= set(MAY_IMPORT)
    assert set(MAY_IMPORT) == set(MAY_USE)
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_the_parts_it_may(path: Path) -> None:
    part = part_of(path)
    allowed = {"__version__", part, *MAY_IMPORT[part]}
    of_beowulf = [name for name in imported_by(path) if name.split(".")[0] == "beowulf"]
    assert [name for name in of_beowulf if name.split(".")[1] not in allowed] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_uses_only_the_libraries_it_may(path: Path) -> None:
    allowed = {"beowulf", *sys.stdlib_module_names, *MAY_USE[part_of(path)]}
    tops = {name.split(".")[0] for name in imported_by(path)}
    assert tops - allowed == set()


# PyTorch is an extra: what serves it is imported late by the modules that it builds on.
LATE = "beowulf.train.torch_"


def test_no_module_needs_one_that_needs_it() -> None:
    """Circles are found by taking away, again and again, what needs nothing that is left."""
    modules = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
               for path in PACKAGE.rglob("*.py")}  # fmt: skip
    left = {
        name: {needed for found in imported_by(path) for needed in (found, found.rpartition(".")[0])
               if needed in modules and needed != name and not needed.startswith(LATE)}
        for name, path in modules.items()
    }  # fmt: skip
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert sorted(left) == []


@pytest.mark.parametrize("path", JOBS, ids=name_of)
def test_example_jobs_know_nothing_of_beowulf_but_its_training(path: Path) -> None:
    names = [name for name in imported_by(path) if name.split(".")[0] == "beowulf"]
    assert bool(names) == (path.parent.name not in OF_OTHERS)
    assert all(name.split(".")[1] == "train" for name in names)


def test_there_are_example_jobs() -> None:
    assert JOBS


def loaded_by(statement: str) -> set[str]:
    """Return the top-level packages that are loaded after a statement, in a fresh Python."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(answer.stdout.split())


SLOW = {"numpy", "mpi4py", "rich", "jinja2", "psutil", "torch", "matplotlib", "tomli_w"}


def test_the_command_line_starts_without_slow_libraries() -> None:
    loaded = loaded_by("import beowulf.cli.main")
    assert "click" in loaded
    assert loaded & SLOW == set()


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_needs_a_slow_library_to_be_found(verb: str) -> None:
    assert loaded_by(f"import beowulf.cli.{verb}") & SLOW == set()


def test_the_controller_never_loads_mpi() -> None:
    names = [path.stem for path in (PACKAGE / "runner").glob("*.py") if path.stem != "__init__"]
    assert len(names) > 10
    statement = f"from beowulf.runner import {', '.join(names)}; import beowulf.cli.attached"
    loaded = loaded_by(statement)
    assert loaded & {"mpi4py", "numpy"} == set()


def test_a_rank_s_watcher_never_loads_mpi_nor_the_controller_s_libraries() -> None:
    loaded = loaded_by("import beowulf.rank.__main__")
    assert loaded & {*SLOW, "click"} == set()


def test_a_job_never_loads_the_controller_s_libraries() -> None:
    code = "import mpi4py; mpi4py.rc.initialize = False; import beowulf.train"
    loaded = loaded_by(code)
    assert "mpi4py" in loaded
    assert loaded & {"click", "rich", "jinja2", "psutil", "paramiko"} == set()
    modules = "import mpi4py; mpi4py.rc.initialize = False; import beowulf.train, beowulf.rank"
    assert loaded_by(f"{modules}; assert not any('runner' in n or 'cli' in n.split('.')[1:] "
                     "for n in sys.modules if n.startswith('beowulf'))")  # fmt: skip
