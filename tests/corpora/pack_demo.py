"""The corpus of `finedata demo`: `python tests/corpora/pack_demo.py` writes it into the package.

Small pictures, so that it stays below a megabyte; `truth.json` says of each record what it is. The
same bytes every time, for one set of library versions; `test_pack_demo.py` holds the packed corpus
against what this makes.
"""

from __future__ import annotations

import io
import json
import lzma
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKED = ROOT / "finedata" / "demo" / "corpus.tar.xz"
TOLD = ("shard_file", "record_in_shard", "kind", "defect", "instruction", "way", "length")


def write_demo_corpus(folder: Path) -> None:
    """Write `bridge_dataset/1.0.0` and `truth.json` below a folder."""
    from corpora.corpus import write_bridge_corpus

    truths = write_bridge_corpus(
        folder, episodes=24, image_size=64, mean_length=24, real_cameras=1, shards=4
    )
    lines = [json.dumps({name: getattr(truth, name) for name in TOLD}) for truth in truths]
    (folder / "truth.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def packed_bytes(folder: Path) -> bytes:
    """A folder's files in one archive; no clock and no user goes into it."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            entry = tarfile.TarInfo(file.relative_to(folder).as_posix())
            entry.size = file.stat().st_size
            tar.addfile(entry, io.BytesIO(file.read_bytes()))
    return lzma.compress(held.getvalue(), preset=9 | lzma.PRESET_EXTREME)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    with tempfile.TemporaryDirectory() as temporary:
        write_demo_corpus(Path(temporary))
        PACKED.write_bytes(packed_bytes(Path(temporary)))
    print(f"{PACKED.relative_to(ROOT)}: {PACKED.stat().st_size} bytes")
