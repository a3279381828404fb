"""One small corpus with every defect, shared by the tests of the demo."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora.corpus import write_bridge_corpus

SMALL = {"image_size": 64, "episodes": 21, "mean_length": 16}
VERSION = Path("bridge_dataset") / "1.0.0"


@pytest.fixture(scope="session")
def bridge_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    truths = write_bridge_corpus(folder, **SMALL, duplicate_id=True, truncate_last=True)
    return folder / VERSION, truths


@pytest.fixture(scope="session")
def info(bridge_corpus):
    tfds = pytest.importorskip("tensorflow_datasets")
    return tfds.builder_from_directory(bridge_corpus[0]).info


@pytest.fixture(scope="session")
def parse():
    """`tf.train.Example` as TFDS ships it: payload to {key: list of values}."""
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.proto import tf_example_pb2

    def parsed(payload):
        features = tf_example_pb2.Example.FromString(payload).features.feature
        return {
            name: list(getattr(feature, feature.WhichOneof("kind")).value)
            for name, feature in features.items()
        }

    return parsed


@pytest.fixture(scope="session")
def payload_of():
    """The payload of a record, by the folder and the truth."""

    def payload(folder, truth):
        data = (folder / truth.shard_file).read_bytes()
        return data[truth.byte_offset + 12 :][: truth.payload_bytes]

    return payload
