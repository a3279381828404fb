"""One run of another loader on the pictures of shards, in a process that ends afterwards.

    PYTHON benchmarks/stream_peers.py run webdataset TARS --batches 40 --workers 2 --decoder ours

`stream_tables.py` runs it, with the interpreters that have peers installed, and measures from
outside. TARS are folders of tars with the members `<camera>.jpg`. litdata and mosaicml-streaming
read formats of their own, made by `copy PEER TARS --copies DIR`, the pictures' bytes as they are.
Every peer gives batches of samples as one uint8 array of pictures of 224 x 224, and their keys.
"own" decodes as the library does (webdataset, energon, LeRobot) or with Pillow, and resizes with
Pillow; "ours" is finedata's decoder in the peer's own hook; "none" reads and hands over, and
decodes nothing. `--seconds` times what comes after `--batches`: rate, and the CPU of the process
and of all that it started. "bare" is as many processes, which decode with ours, hand over nothing,
and read the pictures that the stream gives first, from memory.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import time
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = (224, 224)
DECODER = "own"


@lru_cache(maxsize=1)
def decoder() -> Any:
    """Finedata's, one a process, compiled from the first picture on (where Numba is)."""
    from finedata.shard.stream.pictures import PictureDecoder

    return PictureDecoder(compiled_after=0)


def pixels(content: Any) -> np.ndarray:
    """A picture as the chosen decoder gives it; `content` is bytes, or what a library decoded."""
    if DECODER == "none":
        return np.zeros((1, 1, 3), np.uint8)
    if DECODER == "ours":
        out = np.empty((*SIZE, 3), np.uint8)
        decoder().into(out, bytes(content), codec="jpeg")
        return out
    from PIL import Image

    if isinstance(content, bytes | bytearray | memoryview):
        picture = Image.open(io.BytesIO(content)).convert("RGB")
    elif isinstance(content, Image.Image):
        picture = content.convert("RGB")
    else:
        array = np.asarray(content)
        if array.shape[0] == 3:
            array = np.moveaxis(array, 0, 2)
        if array.dtype != np.uint8:
            array = (array * 255).round().astype(np.uint8)
        picture = Image.fromarray(array)
    return np.asarray(picture.resize(SIZE[::-1], Image.Resampling.BILINEAR))


def sample_of(row: dict) -> tuple[str, np.ndarray]:
    """Key and pictures (cameras, height, width, 3) of a sample as a dictionary."""
    cameras = sorted(name for name in row if name.endswith("jpg"))
    return str(row["__key__"]), np.stack([pixels(row[name]) for name in cameras])


def together(rows: list) -> tuple[list[str], np.ndarray]:
    return [key for key, _ in rows], np.stack([array for _, array in rows])


def members(folder: Path) -> Iterator[dict]:
    """Samples of tars as dictionaries of bytes, in their order."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            row: dict = {}
            for member in tar:
                key, _, name = member.name.partition(".")
                if row and row["__key__"] != key:
                    yield row
                    row = {}
                if name.endswith("jpg"):
                    row |= {"__key__": key, name: tar.extractfile(member).read()}
            if row:
                yield row


# Each peer: options -> an iterator of batches, and functions that tell and load its state.


def finedata_(options: Any) -> Any:
    import finedata as fd

    more = {"sources": {"raw": options.weights}} if options.weights else {}
    stream = fd.stream(
        options.tars[0].parent.parent,
        mix="raw=1", batch=options.batch, size=SIZE, workers=options.workers, **more,
    )  # fmt: skip

    def batches() -> Iterator[Any]:
        for batch in stream:
            names = zip(batch.episode_id, batch.frame_index.tolist(), strict=True)
            yield [f"{episode}-{frame:06d}" for episode, frame in names], None

    def load(state: Any) -> None:
        stream.load_state_dict(state)

    return batches(), stream.state_dict, load


def webdataset(options: Any) -> Any:
    import torch
    import webdataset as wds

    def of(folder: Path) -> Any:
        tars = sorted(map(str, folder.glob("*.tar")))
        data = wds.WebDataset(
            tars, shardshuffle=100, seed=0, empty_check=False,
            nodesplitter=wds.split_by_node, workersplitter=wds.split_by_worker,
        )  # fmt: skip
        data = data.shuffle(1000, seed=0)
        data = data if options.epoch else data.repeat()
        return data.decode("rgb8") if DECODER == "own" else data

    parts = [of(folder) for folder in options.tars]
    shares = list(options.weights.values()) if options.weights else None
    data = parts[0] if len(parts) == 1 else wds.RandomMix(parts, probs=shares)
    data = wds.DataPipeline(data, wds.map(sample_of), wds.batched(options.batch, together))
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=options.workers)
    return iter(loader), None, None


def grain(options: Any) -> Any:
    import grain as g

    class Tars:
        """Random access to the samples of a folder, as a user of grain writes it."""

        def __init__(self, folder: Path) -> None:
            self.files, self.rows = [], []
            for path in sorted(folder.glob("*.tar")):
                self.files.append(str(path))
                found: dict = {}
                with tarfile.open(path) as tar:
                    for m in tar:
                        key, _, name = m.name.partition(".")
                        if name.endswith("jpg"):
                            found.setdefault(key, []).append((name, m.offset_data, m.size))
                self.rows += [(len(self.files) - 1, key, places) for key, places in found.items()]
            self.open: dict = {}

        def __getstate__(self) -> dict:
            return {**self.__dict__, "open": {}}

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, at: int) -> Any:
            number, key, places = self.rows[at]
            if number not in self.open:
                self.open[number] = np.memmap(self.files[number], np.uint8, mode="r")
            file = self.open[number]
            row = {name: file[begin : begin + size].tobytes() for name, begin, size in places}
            return row | {"__key__": key}

    parts = [g.MapDataset.source(Tars(folder)).shuffle(seed=0) for folder in options.tars]
    if not options.epoch:
        parts = [part.repeat() for part in parts]
    weights = list(options.weights.values()) if options.weights else None
    data = parts[0] if len(parts) == 1 else g.MapDataset.mix(parts, weights)
    data = data.map(sample_of).batch(options.batch, batch_fn=together).to_iter_dataset()
    if options.workers:
        data = data.mp_prefetch(g.MultiprocessingOptions(num_workers=options.workers))
    given = iter(data)
    return given, given.get_state, given.set_state


def litdata(options: Any) -> Any:
    import litdata as ld

    class Decoded(ld.StreamingDataset):
        def __getitem__(self, at: int) -> Any:
            return sample_of(super().__getitem__(at))

    folders = [options.copies / "litdata" / folder.name for folder in options.tars]
    parts = [Decoded(str(folder), shuffle=True, seed=0) for folder in folders]
    data = parts[0]
    if len(parts) > 1:
        data = ld.CombinedStreamingDataset(
            parts, weights=list(options.weights.values()), iterate_over_all=False, seed=0
        )
    loader = ld.StreamingDataLoader(
        data, batch_size=options.batch, num_workers=options.workers, collate_fn=together,
    )  # fmt: skip

    def batches() -> Iterator[Any]:
        while True:
            yield from loader
            if options.epoch:
                return

    return batches(), loader.state_dict, loader.load_state_dict


def mosaic(options: Any) -> Any:
    import streaming

    class Decoded(streaming.StreamingDataset):
        def __getitem__(self, at: int) -> Any:
            return sample_of(super().__getitem__(at))

    root = options.copies / "mosaic"
    shares = list(options.weights.values()) if options.weights else [1.0] * len(options.tars)
    streams = [
        streaming.Stream(
            local=str(root / folder.name), proportion=share if options.weights else None
        )
        for folder, share in zip(options.tars, shares, strict=True)
    ]
    data = Decoded(streams=streams, shuffle=True, shuffle_seed=0, batch_size=options.batch,
                   shuffle_algo="py1e", batching_method=options.batching)  # fmt: skip
    loader = streaming.StreamingDataLoader(
        data, batch_size=options.batch, num_workers=options.workers, collate_fn=together,
    )  # fmt: skip

    def batches() -> Iterator[Any]:
        while True:
            yield from loader
            if options.epoch:
                return

    return batches(), loader.state_dict, loader.load_state_dict


def energon(options: Any) -> Any:
    from megatron.energon import (
        Cooker,
        TaskEncoder,
        WorkerConfig,
        get_savable_loader,
        get_train_dataset,
        stateless,
    )  # fmt: skip

    @stateless
    def cook(sample: dict) -> dict:
        key = sample["__key__"].rpartition("/")[2]
        kept = {k: v for k, v in sample.items() if k.endswith("jpg") or k.startswith("__")}
        return kept | {"__key__": key}

    class Encoder(TaskEncoder):
        cookers = [Cooker(cook)]  # noqa: RUF012
        decoder = None if DECODER != "own" else TaskEncoder.decoder

        @stateless
        def encode_sample(self, sample: dict) -> Any:
            # A dictionary: it needs a place for energon's key, by which a buffer is read again.
            key, array = sample_of(sample)
            rest = {name: value for name, value in sample.items() if name.startswith("__")}
            return rest | {"__key__": key, "array": array}

        def batch(self, samples: list) -> Any:
            return together([(sample["__key__"], sample["array"]) for sample in samples])

    path = options.tars[0]
    if options.weights:
        path = options.copies / "blend.yaml"
        lines = ["__module__: megatron.energon", "__class__: MetadatasetV2", "splits:", "  train:",
                 "    blend:"]  # fmt: skip
        for folder, weight in zip(options.tars, options.weights.values(), strict=True):
            lines += [f"      - weight: {weight}", f"        path: {folder.resolve()}"]
        path.write_text("\n".join(lines) + "\n")
    data = get_train_dataset(
        str(path), split_part="train", batch_size=options.batch, shuffle_buffer_size=1000,
        max_samples_per_sequence=100, task_encoder=Encoder(), repeat=not options.epoch,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=options.workers),
    )  # fmt: skip
    loader = get_savable_loader(data)

    def batches() -> Iterator[Any]:
        yield from loader  # its workers start here, and a state is loaded before

    return batches(), loader.save_state_rank, loader.restore_state_rank


def lerobot(options: Any) -> Any:
    """LeRobot's own loader on the dataset that the shards were made of; TARS is the dataset."""
    # lerobot asks for torchvision where it is imported, and the oracle of the tests has none.
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "lerobot_oracle" / "stub"))
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    data = LeRobotDataset("bench/peer", root=options.tars[0])
    cameras = data.meta.camera_keys

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, at: int) -> Any:
            row = data[at]
            key = f"{int(row['episode_index'])}-{int(row['frame_index']):06d}"
            return sample_of({f"{c}.jpg": row[c].numpy() for c in cameras} | {"__key__": key})

    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(
        Pictures(), batch_size=options.batch, shuffle=True, num_workers=options.workers,
        collate_fn=together,
    )  # fmt: skip
    return iter(loader), None, None


def bare(options: Any) -> Any:
    """No loader: decode and resize, in processes that only say how far they are."""
    import multiprocessing
    import os

    import finedata as fd

    with fd.stream(options.tars[0].parent.parent, mix="raw=1", batch=1024, stop=1024) as opened:
        sequence, samples = opened.sequence, opened.sequence.samples(0, 1024)
    shards, kept = sequence.shards, []
    for shard_set, tar, place in zip(samples.shard_set, samples.tar, samples.place, strict=True):
        one = shards.sets[sequence.sets[shard_set]]
        cameras = sorted(camera.member for camera in one.cameras)
        kept.append([shards.member(one.name, int(tar), int(place), name) for name in cameras])

    def work(first: int, done: Any) -> None:
        out = np.empty((len(kept[0]), *SIZE, 3), np.uint8)
        while os.getppid() == parent:
            for at in range(first, len(kept), options.workers):
                for k, content in enumerate(kept[at]):
                    decoder().into(out[k], content, codec="jpeg")
                done.value += 1

    parent, fork = os.getpid(), multiprocessing.get_context("fork")
    counts = [fork.Value("q", 0, lock=False) for _ in range(options.workers)]
    for first, done in enumerate(counts):
        fork.Process(target=work, args=(first, done), daemon=True).start()

    def batches() -> Iterator[Any]:
        given = 0
        while True:
            while sum(one.value for one in counts) < given + options.batch:
                time.sleep(0.005)
            given += options.batch
            yield [""] * options.batch, None

    return batches(), None, None


PEERS = {
    "bare": bare, "finedata": finedata_, "webdataset": webdataset, "grain": grain,
    "litdata": litdata, "mosaic": mosaic, "energon": energon, "lerobot": lerobot,
}  # fmt: skip


def copy(options: Any) -> None:
    """Write the samples in a peer's own format, the pictures' bytes as they are."""
    for folder in options.tars:
        out = options.copies / options.peer / folder.name
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = members(folder)
        if options.peer == "mosaic":
            from streaming import MDSWriter

            first = next(rows)
            columns = {name: "str" if name == "__key__" else "bytes" for name in first}
            with MDSWriter(out=str(out), columns=columns, size_limit=1 << 23) as writer:
                for row in chain([first], rows):
                    writer.write(row)
        else:
            from litdata.streaming.writer import BinaryWriter

            writer = BinaryWriter(str(out), chunk_bytes="8MB")
            for at, row in enumerate(rows):
                writer[at] = row
            writer.done()
            writer.merge()


def cpu_s() -> float:
    """Seconds of CPU of this process and all below it, as Linux tells."""
    total, waiting = 0, ["self"]
    while waiting:
        folder = Path("/proc") / waiting.pop()
        try:
            ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]
            waiting += [
                pid for path in folder.glob("task/*/children") for pid in path.read_text().split()
            ]
        except OSError:
            continue
        total += sum(map(int, ticks))
    return total / 100


def timed(batches: Any, options: Any) -> dict[str, float]:
    """Samples a second, and CPU of each, of the time after the first batches."""
    for _ in islice(batches, options.batches):
        pass
    begin, cpu, done = time.perf_counter(), cpu_s(), 0
    while time.perf_counter() - begin < options.seconds:
        done += len(next(batches)[0])
    rate = done / (time.perf_counter() - begin)
    return {"samples_per_s": round(rate, 1), "cpu_ms": round((cpu_s() - cpu) / done * 1e3, 3)}


def main() -> None:
    global DECODER
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["run", "copy"])
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("tars", type=Path, nargs="+")
    parser.add_argument("--copies", type=Path, default=Path())
    parser.add_argument("--decoder", choices=["own", "ours", "none"], default="own")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0, help="to be timed after the batches")
    parser.add_argument("--batching", default="random")
    parser.add_argument("--weights", type=json.loads, default=None)
    parser.add_argument("--epoch", action="store_true", help="one epoch, all of it")
    parser.add_argument("--save", type=Path, help="where the state goes after the last batch")
    parser.add_argument("--load", type=Path)
    parser.add_argument("--ids", type=Path, help="where the keys go, a line a batch")
    options = parser.parse_args()
    DECODER = options.decoder
    if options.action == "copy":
        copy(options)
        return
    import pickle  # states of energon and torch are no JSON; this program reads its own only

    batches, state, load = PEERS[options.peer](options)
    if options.seconds:
        print(json.dumps(timed(iter(batches), options)))
        sys.stdout.flush()
        return
    if options.load:
        load(pickle.loads(options.load.read_bytes()))
    given: list[list[str]] = []
    for keys, _ in islice(batches, None if options.epoch else options.batches):
        given.append(list(keys))
    if options.save and state is None:
        sys.exit("this loader has no state")
    if options.save:
        options.save.write_bytes(pickle.dumps(state()))
    if options.ids:
        options.ids.write_text("\n".join(" ".join(keys) for keys in given))
    print(json.dumps({"samples": sum(map(len, given))}))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
