"""The libraries of the extra `curate`: there, or an error that says how to get them."""

from __future__ import annotations

from importlib.util import find_spec

from finedata.errors import MissingExtraError

__all__ = ["need_extra"]


def need_extra() -> None:
    """Refuse to begin without the libraries that compare and group.

    Raises:
        MissingExtraError: Numba or SciPy is not installed.
    """
    missing = [name for name in ("numba", "scipy") if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            place="finedata cluster",
            found=f"no {' and no '.join(missing)}",
            wanted="the libraries that compare trajectories",
            next_command="pip install 'finedata[curate]'",
        )
