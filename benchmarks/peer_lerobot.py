"""The peer: how fast LeRobot's own recording path converts an RLDS corpus.

    bash tests/lerobot_oracle/install.sh
    .venv-lerobot/bin/python benchmarks/peer_lerobot.py CORPUS --frames 360 --mode video

Comes in: a folder of TFRecord files in RLDS form (`steps/observation/<camera>`,
`steps/observation/state`, `steps/action`, `steps/language_instruction`). Goes out: one line of JSON
with frames, seconds and frames per second of `create`, `add_frame`, `save_episode` and `finalize`
of lerobot 0.4.4, reading and decoding included, imports not. Whole episodes are converted until
there are at least as many frames as asked for.

It is fair to the peer: the reader checks CRCs but costs next to nothing (upb parser, libjpeg-turbo
decoder, no TensorFlow), so the seconds are LeRobot's. `--mode video` is its default, AV1 through
libsvtav1 after a detour over PNG files, which `--streaming-encoding` leaves out; `--mode image`
stores PNG.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
import simplejpeg
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STUB = Path(__file__).resolve().parents[1] / "tests" / "lerobot_oracle" / "stub"
OBSERVATION = "steps/observation/"
INSTRUCTION = "steps/language_instruction"


def main() -> None:
    options = parse_arguments()
    if options.keep is not None and options.keep.exists():
        sys.exit(f"{options.keep} is there already")
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        prepare_environment(Path(scratch))
        started = time.perf_counter()
        # Here, because lerobot reads the environment on import, and because it takes seconds.
        import lerobot
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        import_seconds = time.perf_counter() - started
        result = convert(LeRobotDataset, options, options.keep or Path(scratch) / "dataset")
    result |= {
        "import_seconds": round(import_seconds, 2),
        "mode": options.mode,
        "streaming_encoding": options.streaming_encoding,
        "image_writer_threads": options.image_writer_threads,
        "lerobot": lerobot.__version__,
    }
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path, help="folder with TFRecord files")
    parser.add_argument(
        "--frames", type=int, default=360, help="convert whole episodes until this many frames"
    )
    parser.add_argument("--mode", choices=["video", "image"], default="video")
    parser.add_argument(
        "--streaming-encoding", action="store_true", help="video mode without the detour over PNG"
    )
    parser.add_argument("--image-writer-threads", type=int, default=0)
    parser.add_argument(
        "--cameras", default="image_0,image_1", help="comma-separated; absent ones are left out"
    )
    parser.add_argument("--fps", type=int, default=5)
    parser.add_argument(
        "--scratch", type=Path, help="folder for the output, which is deleted afterwards"
    )
    parser.add_argument("--keep", type=Path, help="folder of the dataset, which then stays")
    options = parser.parse_args()
    if options.streaming_encoding and options.mode != "video":
        parser.error("--streaming-encoding needs --mode video")
    return options


def prepare_environment(scratch: Path) -> None:
    """The stub torchvision, no network, caches in scratch: all of it before lerobot is imported."""
    sys.path.insert(0, str(STUB))
    for name, folder in {
        "HF_HOME": "home",
        "HF_DATASETS_CACHE": "datasets",
        "HF_LEROBOT_HOME": "lerobot",
    }.items():
        os.environ[name] = str(scratch / folder)
    os.environ["HF_HUB_OFFLINE"] = "1"


def convert(dataset_class: Any, options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Convert until there are enough frames; the features are those of the first episode."""
    started = time.perf_counter()
    dataset = None
    cameras: list[str] = []
    frames = episodes = 0
    for episode in read_episodes(options.corpus):
        if dataset is None:
            cameras = [name for name in options.cameras.split(",") if OBSERVATION + name in episode]
            dataset = dataset_class.create(
                repo_id="local/peer",
                root=root,
                fps=options.fps,
                features=make_features(episode, cameras, options.mode),
                use_videos=options.mode == "video",
                image_writer_threads=options.image_writer_threads,
                streaming_encoding=options.streaming_encoding,
            )
        frames += add_episode(dataset, episode, cameras)
        episodes += 1
        if frames >= options.frames:
            break
    if dataset is None:
        sys.exit(f"no episode found in {options.corpus}")
    dataset.finalize()
    seconds = time.perf_counter() - started
    written = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return {
        "frames": frames,
        "episodes": episodes,
        "cameras": len(cameras),
        "seconds": round(seconds, 3),
        "frames_per_s": round(frames / seconds, 3),
        "output_bytes": written,
    }


def make_features(
    episode: dict[str, Any], cameras: Sequence[str], mode: str
) -> dict[str, dict[str, Any]]:
    length = len(episode[INSTRUCTION])
    features: dict[str, dict[str, Any]] = {
        name: {"dtype": "float32", "shape": (len(episode[key]) // length,), "names": None}
        for name, key in (("observation.state", OBSERVATION + "state"), ("action", "steps/action"))
    }
    for camera in cameras:
        shape = simplejpeg.decode_jpeg(episode[OBSERVATION + camera][0]).shape
        features[f"observation.images.{camera}"] = {
            "dtype": mode,
            "shape": shape,
            "names": ["height", "width", "channels"],
        }
    return features


def add_episode(dataset: Any, episode: dict[str, Any], cameras: Sequence[str]) -> int:
    length = len(episode[INSTRUCTION])
    state = np.asarray(episode[OBSERVATION + "state"], dtype=np.float32).reshape(length, -1)
    action = np.asarray(episode["steps/action"], dtype=np.float32).reshape(length, -1)
    for step in range(length):
        frame: dict[str, Any] = {
            "observation.state": state[step],
            "action": action[step],
            "task": episode[INSTRUCTION][step].decode(),
        }
        for camera in cameras:
            frame[f"observation.images.{camera}"] = simplejpeg.decode_jpeg(
                episode[OBSERVATION + camera][step]
            )
        dataset.add_frame(frame)
    dataset.save_episode()
    return length


def read_episodes(corpus: Path) -> Iterator[dict[str, Any]]:
    """The feature lists of every `tf.train.Example` below `corpus`, by name."""
    example_class = make_example_class()
    for path in sorted(corpus.rglob("*.tfrecord*")):
        for record in read_records(path):
            example = example_class.FromString(record)
            yield {
                name: feature_values(feature) for name, feature in example.features.feature.items()
            }


def read_records(path: Path) -> Iterator[bytes]:
    """TFRecord framing, little-endian: length (uint64), its CRC, payload, its CRC."""
    with path.open("rb") as file:
        while header := file.read(12):
            length, length_crc = struct.unpack("<QI", header)
            payload = file.read(length)
            (payload_crc,) = struct.unpack("<I", file.read(4))
            if masked_crc32c(header[:8]) != length_crc or masked_crc32c(payload) != payload_crc:
                sys.exit(f"{path}: bad CRC")
            yield payload


def masked_crc32c(data: bytes) -> int:
    """TFRecord's masking of crc32c, so that a CRC of stored CRCs stays useful."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def feature_values(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else []


def make_example_class() -> Any:
    """`tf.train.Example` built at run time, with the field numbers of TensorFlow's protos."""
    field_types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="peer", syntax="proto3")
    for name, type_ in (
        ("BytesList", field_types.TYPE_BYTES),
        ("FloatList", field_types.TYPE_FLOAT),
        ("Int64List", field_types.TYPE_INT64),
    ):
        file.message_type.add(name=name).field.add(
            name="value", number=1, label=field_types.LABEL_REPEATED, type=type_
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("BytesList", "FloatList", "Int64List"), start=1):
        add_message_field(feature, name.lower(), number, name).oneof_index = 0
    features = file.message_type.add(name="Features")
    add_message_field(
        features, "feature", 1, "Features.FeatureEntry"
    ).label = field_types.LABEL_REPEATED
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(
        name="key", number=1, label=field_types.LABEL_OPTIONAL, type=field_types.TYPE_STRING
    )
    add_message_field(entry, "value", 2, "Feature")
    add_message_field(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("peer.Example"))


def add_message_field(message: Any, name: str, number: int, type_name: str) -> Any:
    field_types = descriptor_pb2.FieldDescriptorProto
    return message.field.add(
        name=name,
        number=number,
        label=field_types.LABEL_OPTIONAL,
        type=field_types.TYPE_MESSAGE,
        type_name=f".peer.{type_name}",
    )


if __name__ == "__main__":
    main()
