"""The one place that knows where the paper rooms are: converters/, schemas/, trainers/.

In a wheel they lie inside the package (`finedata/_papers/`); in a checkout they lie at the
root, beside `pyproject.toml`. Everything else asks `paper_room()`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from finedata.errors import UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["paper_room"]

RoomName = Literal["converters", "schemas", "trainers"]


def paper_room(name: RoomName) -> Traversable:
    """Find a room of declarations.

    Args:
        name: `converters`, `schemas` or `trainers`.

    Returns:
        The folder, as a `Traversable`: it may lie inside a zipped wheel.

    Raises:
        UsageError: Neither the package nor the checkout has the room.
    """
    package = resources.files("finedata")
    packed = package / "_papers" / name
    if packed.is_dir():
        return packed
    checkout = Path(str(package)).parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise UsageError(
        place=f"the {name}/ room",
        found=f"neither {packed} nor {checkout / name}",
        wanted="a finedata wheel or a whole checkout",
        next_command="pip install --force-reinstall finedata",
    )
