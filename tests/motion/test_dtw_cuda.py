"""The GPU's path: in the simulator always, on a device and through NVVM where they are."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from finedata.errors import MissingExtraError
from finedata.motion.dtw import cuda as dtw_cuda
from finedata.motion.dtw.cuda import cuda_available, cuda_pairs
from finedata.motion.dtw.distances import FrameCost, Tracks

CASES = Path(__file__).parent / "dtw_cuda_cases.py"


def run_cases(**environment):
    command = [sys.executable, "-m", "pytest", str(CASES), "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"\d\d passed", done.stdout)
    assert "skipped" not in done.stdout


def test_cases_in_the_simulator():
    run_cases(NUMBA_ENABLE_CUDASIM="1")


def test_cases_on_the_device():
    if not cuda_available():
        pytest.skip("no CUDA device here")
    run_cases(NUMBA_ENABLE_CUDASIM="0")


def test_availability_is_an_answer_even_where_numba_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert cuda_available.__wrapped__() is False
    monkeypatch.setitem(sys.modules, "numba", SimpleNamespace(config=None))
    assert cuda_available.__wrapped__() is False


def test_absent_device_is_named(monkeypatch):
    monkeypatch.setattr(dtw_cuda, "cuda_available", lambda: False)
    tracks = Tracks.of([np.zeros((3, 2)), np.zeros((4, 2))])
    with pytest.raises(MissingExtraError, match=r"finedata\[cuda\]"):
        cuda_pairs(tracks, [(0, 1)], cost=FrameCost(space="euclidean"))


def test_import_loads_no_numba():
    code = "import sys, finedata.motion.dtw.cuda; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def compile_for_sm_90(monkeypatch, dtype, **kind):
    """PTX of a kernel, without a device."""
    numba = pytest.importorskip("numba")
    if numba.config.ENABLE_CUDASIM:
        pytest.skip("the simulator compiles nothing")
    from numba import cuda, types
    from numba.cuda.cudadrv.nvvm import NVVM

    try:
        NVVM()
    except Exception as error:
        pytest.skip(f"no NVVM here: {type(error).__name__}")
    # Functions that kernels call are compiled for the current device: there is none.
    device = SimpleNamespace(compute_capability=(9, 0))
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
    from finedata.motion.dtw.cuda_kernels import alignment_kernel

    kernel = alignment_kernel.__wrapped__(dtype=dtype, **kind)
    real = types.float32 if dtype is np.float32 else types.float64
    numbers, band = types.int32[::1], types.float64[::1]
    arguments = (
        *(real[:, ::1], types.int64[::1], numbers, numbers, band, band),
        *(real, real, real, real[::1], real[:, ::1]),
    )
    fast = dtype is np.float32
    ptx, _ = cuda.compile_ptx(kernel.py_func, arguments, cc=(9, 0), fastmath=fast)
    return ptx


@pytest.mark.parametrize(
    ("space", "two_stage", "width", "banded"),
    [("pose", True, 8, False), ("pose", True, 8, True), ("pose_rms", False, 16, False)],
)
def test_kernels_compile_for_sm_90(monkeypatch, space, two_stage, width, banded):
    kind = {"space": space, "two_stage": two_stage, "width": width, "banded": banded}
    ptx = compile_for_sm_90(monkeypatch, np.float32, **kind)
    assert ".target sm_90" in ptx
    # Frames and states are in registers, functions are inlined, roots are fast.
    assert ".local" not in ptx
    assert "call" not in ptx
    assert "sqrt.approx.ftz.f32" in ptx
    # float64 is for band limits, whose products must be rounded as NumPy rounds them.
    assert ("mul.rn.f64" in ptx) == banded
    assert "fma.rn.f64" not in ptx
    assert banded or ".f64" not in ptx


def test_kernel_compiles_in_float64(monkeypatch):
    kind = {"space": "pose", "two_stage": True, "width": 8, "banded": False}
    ptx = compile_for_sm_90(monkeypatch, np.float64, **kind)
    assert "sqrt.rn.f64" in ptx
    assert "cvt.rn.f32.f64" not in ptx
