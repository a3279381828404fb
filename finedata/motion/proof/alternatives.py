"""What else rotation columns could mean: every reading that their number allows.

Wider than the vocabulary of the converter files on purpose: a source whose documents are wrong is
found by trying what nobody declared. Used by `finedata.motion.proof.readings`; nothing converts
with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError
from finedata.motion.quaternion import conjugate
from finedata.motion.rotation import to_quaternion_xyzw

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def declared_name(encoding: str, *, unit: str = "rad") -> str:
    """The name that `alternative_rotations` gives to a declared encoding and its unit."""
    return f"{encoding}_deg" if unit == "deg" else encoding


def alternative_rotations(written: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Read rotation columns in every way that their number allows.

    Args:
        written: (T, 3), (T, 4), (T, 6), (T, 9) or (T, 3, 3), as the source has them.

    Returns:
        Unit quaternions xyzw (T, 4) by the reading's name; a name of the declared vocabulary means
        the same here. Readings of three numbers a, b, c:

        * `euler_xyz_extrinsic`: Rz(c) Ry(b) Rx(a), scipy's "xyz";
        * `euler_xyz_intrinsic`: Rx(a) Ry(b) Rz(c), scipy's "XYZ";
        * `euler_zyx_extrinsic`: Rx(c) Ry(b) Rz(a), scipy's "zyx";
        * `euler_zyx_intrinsic`: Rz(a) Ry(b) Rx(c), scipy's "ZYX";
        * `rotation_vector`; and each of them in degrees, with `_deg` after its name.

        Of six: `rotation_6d` (two columns), `rotation_6d_rows` (two rows),
        `rotation_6d_interleaved` (two columns, written row by row). Of nine: `rotation_matrix`
        (row by row), `rotation_matrix_columns`.

    Raises:
        FeatureError: No encoding has that many columns.
    """
    columns = np.asarray(written, np.float64)
    if columns.ndim == 3 and columns.shape[1:] == (3, 3):
        columns = columns.reshape(-1, 9)
    width = columns.shape[1] if columns.ndim == 2 else 0
    if width == 3:
        degrees = {f"{name}_deg": q for name, q in _three(np.deg2rad(columns)).items()}
        return _three(columns) | degrees
    if width == 4:
        return {
            "quaternion_xyzw": to_quaternion_xyzw(columns, encoding="quaternion_xyzw"),
            "quaternion_wxyz": to_quaternion_xyzw(columns, encoding="quaternion_wxyz"),
        }
    if width == 6:
        by_columns = to_quaternion_xyzw(columns, encoding="rotation_6d")
        interleaved = columns[:, [0, 2, 4, 1, 3, 5]]
        return {
            "rotation_6d": by_columns,
            # Rows of a matrix are the columns of its inverse.
            "rotation_6d_rows": conjugate(by_columns),
            "rotation_6d_interleaved": to_quaternion_xyzw(interleaved, encoding="rotation_6d"),
        }
    if width == 9:
        by_rows = to_quaternion_xyzw(columns, encoding="rotation_matrix")
        return {"rotation_matrix": by_rows, "rotation_matrix_columns": conjugate(by_rows)}
    raise FeatureError(
        place="rotation columns",
        found=f"an array of shape {columns.shape}",
        wanted="(T, 3), (T, 4), (T, 6) or (T, 9)",
    )


def _three(columns: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    backwards = columns[:, ::-1]
    return {
        "euler_xyz_extrinsic": to_quaternion_xyzw(columns, encoding="euler_xyz_extrinsic"),
        "euler_xyz_intrinsic": _intrinsic_xyz(columns),
        "euler_zyx_extrinsic": _intrinsic_xyz(backwards),
        "euler_zyx_intrinsic": to_quaternion_xyzw(backwards, encoding="euler_xyz_extrinsic"),
        "rotation_vector": to_quaternion_xyzw(columns, encoding="rotation_vector"),
    }


def _intrinsic_xyz(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    # Rx(a) Ry(b) Rz(c) is the inverse of Rz(-c) Ry(-b) Rx(-a).
    return conjugate(to_quaternion_xyzw(-angles, encoding="euler_xyz_extrinsic"))
