"""The script that makes the environment of a checkout: what makes it start again, and what it never touches. pip itself is tried by continuous integration."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "environment.py"
PROJECT: dict[str, Any] = {
    "project": {"dependencies": ["a"]},
    "build-system": {},
    "dependency-groups": {"dev": ["b>=1"]},
    "tool": {"ruff": {}},
}


@pytest.fixture(scope="module")
def environment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stamp_changes_with_dependencies_and_place_and_with_nothing_else(environment: ModuleType) -> None:
    venv = Path("/somewhere/.venv")
    stamp = environment.stamp_of(venv, PROJECT, ["dev"])
    assert stamp == environment.stamp_of(venv, {**PROJECT, "tool": {"ruff": {"line-length": 80}}}, ["dev"])
    others = [
        environment.stamp_of(Path("/elsewhere/.venv"), PROJECT, ["dev"]),
        environment.stamp_of(venv, {**PROJECT, "project": {"dependencies": ["a", "c"]}}, ["dev"]),
        environment.stamp_of(venv, {**PROJECT, "dependency-groups": {"dev": ["b>=2"]}}, ["dev"]),
        environment.stamp_of(venv, PROJECT, []),
    ]
    assert stamp not in others
    assert len(set(others)) == len(others)


def test_a_group_that_is_not_there_is_named(environment: ModuleType) -> None:
    assert environment.requirements_of(PROJECT, "dev") == ["b>=1"]
    with pytest.raises(environment.SetupFailed, match="no dependency group 'docs'"):
        environment.requirements_of(PROJECT, "docs")


def test_a_directory_that_is_no_environment_is_left_as_it_is(environment: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(environment.SetupFailed, match="is no virtual environment"):
        environment.create(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_environment_that_was_moved_or_lost_its_python_is_not_alive(environment: ModuleType, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    assert not environment.is_alive(venv)
    python = venv / "bin" / "python"
    python.symlink_to(tmp_path / "gone")
    assert not environment.is_alive(venv)
    python.unlink()
    python.symlink_to(os.path.realpath(sys.executable))  # a Python that knows another place as its own
    assert not environment.is_alive(venv)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_python_that_is_not_there_is_told_in_one_sentence() -> None:
    done = subprocess.run(
        ["make", "run", "PYTHON=/nonexist"], cwd=SCRIPT.parents[1], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    first, *others = done.stderr.splitlines()
    assert first == "cannot set up: Python 3.11 or newer is needed, and /nonexist is no Python; PYTHON=PATH takes another"
    assert all(line.startswith("make") for line in others)
