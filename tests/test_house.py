"""A wheel and an sdist hold the whole house: what a checkout does, an installed wheel does too,
and a training environment gains `lineage` and nothing else."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAPPED = {"lineage": "lineage", "db/migrations": "lineage/migrations", "viz": "lineage/viz",
          "examples": "lineage/examples"}  # fmt: skip
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", "*.egg-info", "build", "dist", ".*_cache", ".hypothesis",
    ".lineage", "demo-family", "site",
)  # fmt: skip


def run(*command: object, **options: Any) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from the sdist."""
    checkout = tmp_path_factory.mktemp("build") / "checkout"
    shutil.copytree(ROOT, checkout, ignore=NOT_SOURCE)
    out = checkout.parent / "dist"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, checkout)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel in it. Its dependencies are those of this environment,
    seen through a .pth file after its own packages."""
    env = tmp_path_factory.mktemp("installed") / "env"
    run(sys.executable, "-m", "venv", "--without-pip", env)
    (env / "before").write_text("\n".join(path.name for path in (env / "bin").iterdir()))
    assert not list(site_packages(env).iterdir())
    run(sys.executable, "-m", "pip", "--python", env / "bin" / "python", "install", "--quiet",
        "--no-deps", "--no-index", "--disable-pip-version-check", wheel)  # fmt: skip
    return env


def site_packages(env: Path) -> Path:
    (found,) = env.glob("lib/python3*/site-packages")
    return found


@pytest.fixture
def command(installed: Path) -> Path:
    """The installed command, in an environment that has its dependencies too."""
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages(installed) / "dependencies.pth").write_text("\n".join(sorted(dependencies)))
    return installed / "bin" / "lineage"


def sources(folder: Path) -> list[Path]:
    return [
        path.relative_to(folder)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc" and "egg-info" not in str(path)
    ]


def test_an_environment_gains_lineage_and_nothing_else(installed: Path) -> None:
    gained = {path.name for path in site_packages(installed).iterdir()} - {"dependencies.pth"}
    assert {re.sub(r"-[0-9].*\.dist-info$", ".dist-info", name) for name in gained} == {
        "lineage",
        "checkpoint_lineage.dist-info",
    }
    commands = {path.name for path in (installed / "bin").iterdir()}
    assert commands - set((installed / "before").read_text().splitlines()) == {"lineage"}


@pytest.mark.parametrize(("folder", "place"), MAPPED.items())
def test_a_wheel_holds_every_file_of_the_package(wheel: Path, folder: str, place: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for path in sources(ROOT / folder):
            name = f"{place}/{path.as_posix()}"
            assert archive.read(name) == (ROOT / folder / path).read_bytes(), name


def test_an_sdist_holds_what_its_tests_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in (*MAPPED, "tests", "bench", "docs"):
        assert {f"{folder}/{path.as_posix()}" for path in sources(ROOT / folder)} <= names
    assert {"LICENSE", "Makefile", "cli.py", "setup.cfg", "pyproject.toml", ".ci/run"} <= names


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
        licences = [name for name in archive.namelist() if "/licenses/" in name]
    assert metadata["Name"] == "checkpoint-lineage"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Apache-2.0" in (metadata["License-Expression"] or metadata["License"])
    assert any(name.endswith("licenses/LICENSE") for name in licences)
    needs = [one.partition(";")[0] for one in metadata.get_all("Requires-Dist", [])]
    # an upper bound would fight whatever the trainer beside us needs
    assert needs
    assert not [one for one in needs if re.search(r"<|==|~=", one)]


def test_the_command_works_from_a_wheel(command: Path) -> None:
    assert run(command, "--version").startswith("lineage ")
    assert "register" in run(command, "--help")


def test_migrations_and_pages_are_found_in_a_wheel(command: Path) -> None:
    found = run(
        command.with_name("python"),
        "-c",
        "from importlib.resources import files\n"
        "import lineage\n"
        "print(lineage.__file__)\n"
        "for package in 'migrations', 'migrations.versions', 'viz', 'examples':\n"
        "    for held in files(f'lineage.{package}').iterdir():\n"
        "        print(f'{package}/{held.name}')\n",
    )
    assert found.startswith(str(site_packages(command.parent.parent).resolve())), found
    for expected in ("migrations/env.py", "viz/vendor", "examples/grow_family.py"):
        assert expected in found.splitlines()
    assert re.search(r"^migrations.versions/\w*\d\w*\.py$", found, re.M)


def test_a_registry_is_made_and_read_from_a_wheel(command: Path, tmp_path: Path) -> None:
    run(command, "init")
    assert (tmp_path / ".lineage" / "registry.db").is_file()
    assert run(command, "ls", "--json").strip() == "[]"
    run(command, "register", "--name", "founder")
    assert "founder" in run(command, "ls")


def test_the_types_of_a_users_script_are_checked(command: Path, tmp_path: Path) -> None:
    """py.typed is shipped, and what comes out of a question has a type."""
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(
        "import lineage\n"
        "with lineage.open() as registry:\n"
        "    base = registry.register('runs/base', name='base', fitness={'gsm8k/acc': 0.4})\n"
        "    reveal_type(base)\n"
        "    reveal_type(registry.best('gsm8k/acc').standings[0].score.value)\n"
        "    reveal_type(registry.select().proposals[0].reasons[0].by)\n"
        "    reveal_type(registry.path(base, base)[0].relation)\n"
        "    lineage.to_networkx(registry.family(base)).nodes\n"
        "    registry.register('runs/base', nmae='base').nmae\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable",
         command.with_name("python"), script],
        capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "MYPYPATH": ""},
    )  # fmt: skip
    told = re.findall(r"Revealed type is \"(.*)\"", done.stdout)
    assert [one.replace("builtins.", "") for one in told] == [
        "lineage.organism.Organism",
        "float",
        "lineage.organism.Organism | None",
        "str",
    ], done.stdout
    assert re.findall(r"error: .*", done.stdout) == [
        'error: "Organism" has no attribute "nmae"  [attr-defined]'
    ], done.stdout


def test_the_launcher_of_a_checkout_is_the_same_command() -> None:
    said = run(sys.executable, ROOT / "cli.py", "--help", env={**os.environ, "COLUMNS": "80"})
    assert said == run(
        sys.executable, "-c", "from lineage.cli import main; main()", "--help",
        env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
