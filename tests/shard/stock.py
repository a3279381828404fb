"""The stock readers of shards, and their habit of leaving files to the garbage collector."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def webdataset_samples(tars: Sequence[Path], *, decode: str = "") -> list[dict[str, Any]]:
    """All samples, as stock webdataset gives them."""
    import webdataset as wds

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        pipeline = wds.WebDataset([str(tar) for tar in tars], shardshuffle=False, empty_check=False)
        found = list(pipeline.decode(decode) if decode else pipeline)
        del pipeline
        gc.collect()
    return found
