"""Print pyproject.toml's lower bounds as pip constraints, `name==bound`, for `make test-oldest`.

A bound that nobody installs is a guess; pip refuses where one of these does not fit the others.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
_BOUNDED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?>=(?P<bound>[0-9.]+)(?:,<[0-9.]+)?")


def lower_bounds(pyproject: str) -> dict[str, str]:
    """Name -> lower bound, over the dependencies and every extra.

    Raises:
        ValueError: A dependency has no lower bound, or two different ones.
    """
    project = tomllib.loads(pyproject)["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    bounds: dict[str, str] = {}
    for requirement in (entry for group in groups for entry in group):
        if requirement.startswith(f"{project['name']}["):
            continue
        if (found := _BOUNDED.fullmatch(requirement)) is None:
            message = (
                f"pyproject.toml: {requirement!r} is not `name>=bound` or `name>=bound,<limit`"
            )
            raise ValueError(message)
        if bounds.setdefault(found["name"], found["bound"]) != found["bound"]:
            message = f"pyproject.toml: {found['name']} has two lower bounds"
            raise ValueError(message)
    return bounds


if __name__ == "__main__":
    for name, bound in sorted(lower_bounds(PYPROJECT.read_text(encoding="utf-8")).items()):
        sys.stdout.write(f"{name}=={bound}\n")
