"""What the arithmetic of `finedata.motion` costs, beside numpy-quaternion and scipy.

    python benchmarks/motion.py [--rows 1000000] [--repeats 5]

Comes in: a number of rotations. Goes out: a Markdown table of milliseconds per call, medians of
interleaved repeats, so that a busy machine slows all libraries alike; and a second one with the
seconds that importing each takes in a fresh interpreter. A dash: the library has no such call for
arrays of pairs. Each library works on its own type where it has one (numpy-quaternion's dtype,
scipy's Rotation); reading and writing encodings includes the arrays that go in and come out.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import quaternion as numpy_quaternion
from scipy.spatial.transform import Rotation

from finedata.motion import (
    from_quaternion_xyzw,
    geodesic_angle_rad,
    integrate_targets,
    make_sign_continuous,
    multiply,
    normalise,
    rotate,
    slerp,
    to_quaternion_xyzw,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Calls = tuple[Callable[[], object] | None, ...]

LIBRARIES = ("finedata.motion", "numpy-quaternion", "scipy")
IMPORTS = ("numpy", "finedata.motion", "quaternion", "scipy.spatial.transform")
EPISODE_ROWS = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for rows in (options.rows, EPISODE_ROWS):
        print(f"\n| ms at T = {rows} | {' | '.join(LIBRARIES)} |")
        print("|---|" + "---:|" * len(LIBRARIES))
        for name, calls in pairs(rows).items():
            print(f"| {name} | {' | '.join(map(cell, medians_ms(calls, options.repeats, rows)))} |")
    print(f"\n| ms at T = {EPISODE_ROWS} | finedata.motion |\n|---|---:|")
    for name, call in integrations(EPISODE_ROWS).items():
        print(f"| {name} | {cell(medians_ms((call,), options.repeats, EPISODE_ROWS)[0])} |")
    print("\n| s to import | |\n|---|---:|")
    for module, seconds in import_seconds(options.repeats).items():
        print(f"| `{module}` | {seconds:.2f} |")


def pairs(rows: int) -> dict[str, Calls]:
    """Each operation by the three libraries, on the same numbers."""
    draw = np.random.default_rng(0)
    q, p = (normalise(draw.normal(size=(rows, 4)))[0] for _ in range(2))
    euler, vector, matrix = (
        from_quaternion_xyzw(q, encoding=encoding)
        for encoding in ("euler_xyz_extrinsic", "rotation_vector", "rotation_matrix")
    )
    fraction = draw.uniform(size=rows)
    nq, np_ = (numpy_quaternion.from_float_array(x[:, [3, 0, 1, 2]]) for x in (q, p))
    sq, sp = Rotation.from_quat(q), Rotation.from_quat(p)
    square = matrix.reshape(-1, 3, 3)

    def slerp_scipy() -> object:
        step = fraction[:, None] * (sq.inv() * sp).as_rotvec()
        return (sq * Rotation.from_rotvec(step)).as_quat()

    def rotate_numpy_quaternion() -> object:
        pure = numpy_quaternion.from_vector_part(vector)
        return numpy_quaternion.as_vector_part(nq * pure * np.conjugate(nq))

    return {
        "euler -> quaternion": (
            partial(to_quaternion_xyzw, euler, encoding="euler_xyz_extrinsic"),
            # its Euler angles are zyz: the same work, another convention
            lambda: numpy_quaternion.from_euler_angles(euler),
            lambda: Rotation.from_euler("xyz", euler).as_quat(),
        ),
        "quaternion -> euler": (
            partial(from_quaternion_xyzw, q, encoding="euler_xyz_extrinsic"),
            lambda: numpy_quaternion.as_euler_angles(nq),
            lambda: Rotation.from_quat(q).as_euler("xyz"),
        ),
        "rotation vector -> quaternion": (
            partial(to_quaternion_xyzw, vector, encoding="rotation_vector"),
            lambda: numpy_quaternion.from_rotation_vector(vector),
            lambda: Rotation.from_rotvec(vector).as_quat(),
        ),
        "quaternion -> rotation vector": (
            partial(from_quaternion_xyzw, q, encoding="rotation_vector"),
            lambda: numpy_quaternion.as_rotation_vector(nq),
            lambda: Rotation.from_quat(q).as_rotvec(),
        ),
        "matrix -> quaternion": (
            partial(to_quaternion_xyzw, matrix, encoding="rotation_matrix"),
            # takes no care of noise here; with care (its default) it is an eigenproblem per row
            lambda: numpy_quaternion.from_rotation_matrix(square, nonorthogonal=False),
            lambda: Rotation.from_matrix(square).as_quat(),
        ),
        "quaternion -> matrix": (
            partial(from_quaternion_xyzw, q, encoding="rotation_matrix"),
            lambda: numpy_quaternion.as_rotation_matrix(nq),
            lambda: Rotation.from_quat(q).as_matrix(),
        ),
        "multiply": (partial(multiply, q, p), lambda: nq * np_, lambda: sq * sp),
        "rotate vectors": (
            partial(rotate, q, vector),
            rotate_numpy_quaternion,
            lambda: sq.apply(vector),
        ),
        "angle": (
            partial(geodesic_angle_rad, q, p),
            lambda: numpy_quaternion.rotation_intrinsic_distance(nq, np_),
            lambda: (sq.inv() * sp).magnitude(),
        ),
        "slerp": (
            partial(slerp, q, p, fraction),
            lambda: np.slerp_vectorized(nq, np_, fraction),
            slerp_scipy,
        ),
        "normalise": (partial(normalise, q), lambda: np.normalized(nq), None),
        "continuous signs": (
            partial(make_sign_continuous, q),
            lambda: numpy_quaternion.unflip_rotors(nq),
            None,
        ),
    }


def integrations(rows: int) -> dict[str, Callable[[], object]]:
    """`integrate_targets` for one episode, each composition from the previous target."""
    draw = np.random.default_rng(1)
    quaternion = normalise(draw.normal(size=(rows, 4)))[0]
    numbers = 0.02 * draw.normal(size=(rows, 3))
    return {
        f"integrate_targets, {composition}": partial(
            integrate_targets,
            delta_position_m=numbers,
            delta_rotation=numbers,
            encoding="euler_xyz_extrinsic",
            composition=composition,
            refers_to="previous_target",
            start_position_m=numbers[0],
            start_quaternion_xyzw=quaternion[0],
            measured_position_m=numbers,
        )
        for composition in ("base_left", "base_left_about_measured", "tool_right", "component_sum")
    }


def medians_ms(calls: Calls, repeats: int, rows: int) -> list[float | None]:
    """Milliseconds per call of each, taken in turns after one call to warm up."""
    loops = max(1, 20_000 // rows)
    taken: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats + 1):
        for call, times in zip(calls, taken, strict=True):
            if call is None:
                continue
            started = time.perf_counter()
            for _ in range(loops):
                call()
            if repeat:
                times.append(1000.0 * (time.perf_counter() - started) / loops)
    return [statistics.median(times) if times else None for times in taken]


def import_seconds(repeats: int) -> dict[str, float]:
    """Median seconds to import each module in a fresh interpreter, interleaved."""
    taken: dict[str, list[float]] = {module: [] for module in IMPORTS}
    for _ in range(repeats):
        for module, times in taken.items():
            program = (
                "import time; s = time.perf_counter()\n"
                f"import {module}\nprint(time.perf_counter() - s)"
            )
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=True
            )
            times.append(float(done.stdout))
    return {module: statistics.median(times) for module, times in taken.items()}


def cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
