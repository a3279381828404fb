"""The wheel works on its own: built, installed in an empty environment, run elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def run(command: list[str | Path], **options: object) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def link_dependencies(site: Path) -> None:
    """Put what the core asks for, and what that asks for, into an empty environment.

    The files are this environment's own, so that nothing is fetched; an extra's are not among them.
    """
    asked, seen = requires("finedata") or [], set()
    while asked:
        requirement = Requirement(asked.pop())
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        found = distribution(name)
        asked += found.requires or []
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}:
            if top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(found.locate_file(top))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    ignored = shutil.ignore_patterns(".venv*", ".git", "demo-out", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, checkout])
    (wheel,) = folder.glob("finedata-*.whl")
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv/lib").glob("python*/site-packages")
    link_dependencies(site)
    run([*pip, "--python", folder / "venv/bin/python", "install", "--no-index", wheel])
    shutil.rmtree(checkout)
    return folder / "venv/bin"


def test_wheel_lists_its_sources_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    out = run([installed / "finedata", "sources"], cwd=tmp_path, env=environment)
    assert "bridge_v2" in out
    assert "CC-BY-4.0" in out
    place = run(
        [installed / "python", "-c", "import finedata; print(finedata.__file__)"],
        cwd=tmp_path,
        env=environment,
    )
    assert str(installed.parent) in place
    schemas = run(
        [
            installed / "python",
            "-c",
            "from finedata.papers import paper_room\n"
            "print(*sorted(f.name for f in (paper_room('schemas') / 'v1').iterdir()))\n"
            "assert paper_room('trainers').is_dir()",
        ],
        cwd=tmp_path,
        env=environment,
    )
    assert schemas.split() == sorted(path.name for path in (ROOT / "schemas/v1").iterdir())
    assert "facts.json" in schemas.split()
