# ruff: noqa: E501  (tables of columns read better as lines)
"""Tiny shards written by hand: what a stream reads, without the writer of shards."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import simplejpeg
from PIL import Image

from finedata.schema.conform import conform
from finedata.schema.documents import FileDigest, encode_document
from finedata.schema.shards_file import (
    SHARDS_FILE,
    Shard,
    ShardCamera,
    ShardFeature,
    ShardOptions,
    ShardSet,
    ShardsFile,
    Statistics,
    TextRevision,
    TextSet,
    shards_identity,
    text_revision,
)
from finedata.schema.tables.all import arrow_schema, schema_tag
from finedata.shard.files import (
    episodes_path,
    file_digest,
    frames_path,
    index_path,
    tar_folder,
    tar_name,
    write_arrow,
)
from finedata.shard.making.tar import Sample, write_tar
from finedata.shard.order.permute import permute

NAMES = ["right_x", "right_y", "right_z", "right_qx", "right_qy", "right_qz", "right_qw", "right_gripper"]  # fmt: skip

_PARTS = ("situation_analysis", "spatial_reasoning", "task_planning", "sub_action")


@dataclass
class TinySet:
    source: str
    tier: str
    lengths: list[int]
    side: str = "train"
    cameras: tuple[str, ...] = ("front",)
    size: tuple[int, int] = (16, 24)
    tar_samples: int = 7
    fine: frozenset[int] = frozenset()
    steps: bool = True
    whole_traces: bool = False
    missing: frozenset[int] = frozenset()
    names: list[str] = field(default_factory=lambda: list(NAMES))
    space: str = "ee"
    last_commanded: bool = False
    deep: tuple[str, ...] = ()  # cameras with depth, as PNG of 16 bits

    @property
    def name(self) -> str:
        return f"{self.source}-main-{self.tier}-{self.side}"

    def episode_id(self, number: int) -> str:
        return f"{self.source}-{self.tier}-{number:04d}"


def picture(set_name: str, camera: str, episode: int, frame: int, size: tuple[int, int]) -> bytes:
    seed = [*f"{set_name}/{camera}".encode(), episode, frame]
    corners = np.random.default_rng(seed).integers(0, 255, 3)
    pixels = np.broadcast_to(corners.astype(np.uint8), (*size, 3))
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90)


def depth_picture(
    set_name: str, camera: str, episode: int, frame: int, size: tuple[int, int]
) -> bytes:
    seed = [*f"{set_name}/{camera}/depth".encode(), episode, frame]
    pixels = np.random.default_rng(seed).integers(300, 3000, size).astype(np.uint16)
    pixels[0, : size[1] // 2] = 0  # a hole, as sensors have
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def numbers(one: TinySet, episode: int) -> tuple[np.ndarray, np.ndarray]:
    """State and action of an episode: (T, 8) float32 each, rotations of unit length."""
    rng = np.random.default_rng([*one.name.encode(), episode])
    both = rng.normal(size=(2, one.lengths[episode], len(one.names)))
    if "right_qx" in one.names:
        at = one.names.index("right_qx")
        both[..., at : at + 4] /= np.linalg.norm(both[..., at : at + 4], axis=-1, keepdims=True)
    return tuple(both.astype(np.float32))


def make_shards(
    root: Path, sets: list[TinySet], *, words: str = "", nan_at: tuple[int, int] | None = None
) -> Path:
    """Write shards of these sets, with one text revision that says `words` besides."""
    root.mkdir(parents=True, exist_ok=True)
    made = [_write_set(root, one, nan_at) for one in sorted(sets, key=lambda s: s.name)]
    text = write_words(root, sets, words=words)
    write_document(root, made, [text])
    return root


def write_document(root: Path, made: list[ShardSet], texts: list[TextRevision]) -> None:
    names = made[0].features[0].names
    statistics = [
        Statistics(
            embodiment="arm", space="ee", feature=feature, names=names, count=[9] * len(names),
            mean=[0.5] * len(names), std=[2.0] * len(names), min=[-1.0] * len(names),
            max=[3.0] * len(names), q01=[-0.5] * len(names),
            q99=[-0.5 if name == "right_gripper" else 1.5 for name in names],
        )
        for feature in ("observation.state", "action")
    ]  # fmt: skip
    options = ShardOptions(
        cameras=[], height=None, width=None, quality=90, shard_bytes=1, horizon=16, every=1,
        thin=True, where="", held_out="", held_out_by="episode", held_out_ids_sha256="", text_policy="not_contradicted", with_failed=False, bake=[], seed=0,
    )  # fmt: skip
    document = ShardsFile(
        identity=shards_identity(made, order="step", sample="step"),
        finedata_version="0", libraries={}, order="step", sample="step", options=options,
        sets=made, left_out={}, statistics=statistics, texts=texts, lineage=[],
    )  # fmt: skip
    (root / SHARDS_FILE).write_bytes(encode_document(document))


def _write_set(root: Path, one: TinySet, nan_at: tuple[int, int] | None) -> ShardSet:
    firsts = np.cumsum([0, *one.lengths])
    total = int(firsts[-1])
    rows = {
        "episode_id": [one.episode_id(k) for k in range(len(one.lengths))],
        "first_row": firsts[:-1], "length": one.lengths, "fps": [10.0] * len(one.lengths),
        "task": ["" if one.tier == "unlabelled" else f"do {k}" for k in range(len(one.lengths))],
        "licence": ["MIT"] * len(one.lengths),
        "cameras_missing": [
            ["front"] if k in one.missing else [] for k in range(len(one.lengths))
        ],
        "source_file": [f"file-{k}" for k in range(len(one.lengths))],
        "byte_offset": [100 * k for k in range(len(one.lengths))],
        "byte_length": [100] * len(one.lengths),
        "verdict": ["pass"] * len(one.lengths),
    }  # fmt: skip
    schema = arrow_schema("shard_episodes")
    for name in schema.names:
        rows.setdefault(name, [None] * len(one.lengths))
    table = pa.table({name: pa.array(rows[name], schema.field(name).type) for name in schema.names})
    path = episodes_path(root, one.name)
    path.parent.mkdir(exist_ok=True)
    write_arrow(path, [conform(table, "shard_episodes", cast=True)], schema=schema)
    _write_frames(root, one, nan_at)
    where = [(e, f) for e, length in enumerate(one.lengths) for f in range(length)]
    order = permute(np.arange(total), size=total, key=7)
    placed: list[tuple[int, int]] = [(0, 0)] * total
    for position, place in enumerate(order.tolist()):
        placed[place] = where[position]
    tars = [
        _write_tar(root, one, number, placed[begin : begin + one.tar_samples])
        for number, begin in enumerate(range(0, total, one.tar_samples))
    ]
    return ShardSet(
        name=one.name, source=one.source, part="main", tier=one.tier, side=one.side,
        embodiment="arm", space=one.space, fps=10.0, licences=["MIT"],
        members=[*(f"{c}.jpg" for c in one.cameras), *(f"{c}_depth.png" for c in one.deep)],
        cameras=[
            ShardCamera(
                name=camera, member=f"{camera}.jpg", codec="jpeg", height=one.size[0],
                width=one.size[1], untouched=total, encoded=0, psnr_db=None,
            )
            for camera in one.cameras
        ] + [
            ShardCamera(
                name=f"{camera}_depth", member=f"{camera}_depth.png", codec="png",
                height=one.size[0], width=one.size[1], untouched=total, encoded=0, psnr_db=None,
            )
            for camera in one.deep
        ],
        features=[
            ShardFeature(name=name, width=len(one.names), names=one.names)
            for name in ("observation.state", "action")
        ],
        episodes=len(one.lengths), frames=total, samples=total, tars=tars,
        episodes_file=file_digest(root, path), frames_file=file_digest(root, frames_path(root, one.name)),
    )  # fmt: skip


def _write_frames(root: Path, one: TinySet, nan_at: tuple[int, int] | None) -> None:
    path = frames_path(root, one.name)
    path.parent.mkdir(exist_ok=True)
    pieces = []
    for episode, length in enumerate(one.lengths):
        state, action = (np.array(part) for part in numbers(one, episode))
        if nan_at is not None and nan_at[0] == episode:
            action[nan_at[1], 0] = np.nan
        columns = {
            "episode": np.full(length, episode, np.int32),
            "frame_index": np.arange(length, dtype=np.int32),
            "observation.state": _lists(state),
            "action": _lists(action),
            "action_valid": np.arange(length) < length - (not one.last_commanded),
        }
        pieces.append(pa.table({k: pa.array(v) if isinstance(v, np.ndarray) else v for k, v in columns.items()}))  # fmt: skip
    schema = pieces[0].schema.with_metadata(schema_tag("shard_frames"))
    write_arrow(path, [p.cast(schema) for p in pieces], schema=schema)


def _write_tar(root: Path, one: TinySet, number: int, placed: list[tuple[int, int]]) -> Shard:
    path = tar_folder(root, one.name) / tar_name(one.side, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = [
        Sample(
            f"{one.episode_id(e)}-{f:06d}".lower(),
            (
                *(picture(one.name, camera, e, f, one.size) for camera in one.cameras),
                *(depth_picture(one.name, camera, e, f, one.size) for camera in one.deep),
            ),
        )
        for e, f in placed
    ]
    suffixes = (*(f"{c}.jpg" for c in one.cameras), *(f"{c}_depth.png" for c in one.deep))
    places = write_tar(path, samples, suffixes=suffixes)
    begins = np.array(places.sample_offset)
    columns = {
        "episode": np.array([e for e, _ in placed], np.int32),
        "episode_id": [one.episode_id(e) for e, _ in placed],
        "frame_index": np.array([f for _, f in placed], np.int32),
        "tar": np.full(len(placed), number, np.int32),
        "offset": begins[:-1],
        "size": np.diff(begins),
        "member_offset": _lists(np.array(places.offset, np.int64)),
        "member_size": _lists(np.array(places.size, np.int64)),
        "member_crc32c": _lists(np.array(places.crc32c, np.uint32)),
    }
    table = pa.table(columns)
    schema = table.schema.with_metadata(schema_tag("shard_index"))
    index = index_path(path)
    write_arrow(index, [table.cast(schema)], schema=schema)
    return Shard(
        name=path.name, bytes=places.total_bytes, sha256=places.sha256, samples=len(placed),
        index_sha256=file_digest(root, index).sha256,
    )  # fmt: skip


def write_words(root: Path, sets: list[TinySet], *, words: str) -> TextRevision:
    """A text revision of all sets; episodes of `fine` have a fine-grained text."""
    making = root / "text" / ".making"
    for one in sets:
        folder = making / one.name
        folder.mkdir(parents=True)
        _write_words_of(root, folder, one, words)
    files = [file_digest(making, p) for p in sorted(making.rglob("*")) if p.is_file()]
    sha256 = text_revision(files)
    name = sha256[:16]
    making.rename(root / "text" / name)
    return TextRevision(
        revision=name, sha256=sha256,
        files=[FileDigest(path=f"text/{name}/{f.path}", bytes=f.bytes, sha256=f.sha256) for f in files],
        runs=["r1"], rows={}, left_out={}, views=[], sets=[_ones(root, name, one) for one in sets],
    )  # fmt: skip


def _ones(root: Path, revision: str, one: TinySet) -> TextSet:
    """How many bits are one, of each tar; read from the files as they were written."""
    lengths = [
        pa.ipc.open_file(path).read_all().num_rows
        for path in sorted(tar_folder(root, one.name).glob("*.index.arrow"))
    ]
    edges = np.cumsum([0, *lengths])
    found = {}
    for policy, name in (("not_contradicted", "fg.bits"), ("reviewed", "fg_reviewed.bits")):
        content = (root / "text" / revision / one.name / name).read_bytes()
        flags = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        found[policy] = [int(flags[a:b].sum()) for a, b in pairwise(edges)]
    return TextSet(name=one.name, **found)


def _provenance(count: int) -> dict:
    return {"run_id": ["r1"] * count, "origin": ["teacher"] * count, "review_status": ["unreviewed"] * count}  # fmt: skip


def _table(name: str, columns: dict, count: int) -> pa.Table:
    schema = arrow_schema(name)
    arrays = []
    for field_ in schema:
        values = columns.get(field_.name)
        if values is None:
            plain = {"string": "x", "bool": False, "int32": 0, "int64": 0}.get(str(field_.type))
            values = [None if field_.nullable else plain] * count
        arrays.append(pa.array(values, field_.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _write_words_of(root: Path, folder: Path, one: TinySet, words: str) -> None:
    episodes = len(one.lengths)
    instructions: dict[str, list] = {n: [] for n in ("episode", "instruction_id", "kind", "text", "steps", "policy")}  # fmt: skip
    facts: dict[str, list] = {n: [] for n in ("episode", "fact_id", "text", "policy")}
    traces: dict[str, list] = {n: [] for n in ("episode", "trace_id", "frame_index", "observation", "situation_analysis", "spatial_reasoning", "task_planning", "sub_action", "policy", "logical_steps")}  # fmt: skip
    place: dict[str, list] = {n: [] for n in ("episode_id", "first_instruction", "instructions", "first_fact", "facts", "first_trace", "traces", "fine_grained", "policy")}  # fmt: skip
    for k in range(episodes):
        place["episode_id"].append(one.episode_id(k))
        for thing, rows in (("instruction", instructions), ("fact", facts), ("trace", traces)):
            place[f"first_{thing}"].append(len(rows["episode"]))
        policy = "reviewed" if k % 2 else "not_contradicted"
        for kind, text in (("alternative", f"please do {k}"), ("goal", f"do {k}")):
            _add(
                instructions, k, f"i{k}{kind}", kind=kind, text=text, steps=None, policy="reviewed"
            )
        if k in one.fine:
            place["fine_grained"].append(len(instructions["episode"]))
            place["policy"].append(policy)
            steps = ["grip it", f"lift it{words}"] if one.steps else None
            text = f"grip it, then lift it{words}"
            _add(
                instructions, k, f"f{k}", kind="fine_grained", text=text, steps=steps, policy=policy
            )
            for j in range(3):
                _add(facts, k, f"t{k}.{j}", text=f"fact {k}.{j}.", policy=policy)
            for frame in range(1, one.lengths[k], 3):
                more = dict.fromkeys(_PARTS)
                if one.whole_traces:
                    more = {part: f"{part[:4]} {k} {frame}" for part in _PARTS}
                _add(traces, k, f"r{k}.{frame}", frame_index=frame, observation=f"at {frame}", policy=policy, logical_steps=["a"], **more)  # fmt: skip
        else:
            place["fine_grained"].append(None)
            place["policy"].append(None)
        for thing, rows in (("instruction", instructions), ("fact", facts), ("trace", traces)):
            place[f"{thing}s"].append(len(rows["episode"]) - place[f"first_{thing}"][-1])
    for name, rows in (("instructions", instructions), ("facts", facts), ("traces", traces), ("episodes", place)):  # fmt: skip
        count = len(rows["policy"])
        table = _table(f"text_{name}", {**rows, **({} if name == "episodes" else _provenance(count))}, count)  # fmt: skip
        write_arrow(folder / f"{name}.arrow", [table], schema=table.schema)
    flags = {"fg.bits": [], "fg_reviewed.bits": []}
    for tar in sorted(tar_folder(root, one.name).glob("*.index.arrow")):
        for episode in pa.ipc.open_file(tar).read_all()["episode"].to_pylist():
            flags["fg.bits"].append(episode in one.fine)
            flags["fg_reviewed.bits"].append(episode in one.fine and episode % 2 == 1)
    for name, values in flags.items():
        (folder / name).write_bytes(
            np.packbits(np.array(values, bool), bitorder="little").tobytes()
        )


def _add(rows: dict[str, list], episode: int, ident: str, **values: object) -> None:
    rows["episode"].append(episode)
    for name in rows:
        if name.endswith("_id"):
            rows[name].append(ident)
        elif name != "episode":
            rows[name].append(values[name])


def _lists(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def decoded(content: bytes) -> np.ndarray:
    """By another decoder than the stream's."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
