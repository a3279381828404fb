"""The messages of `tf.train.Example`, declared at run time for protobuf.

No generated module, whose version would have to fit the protobuf that is installed, and a pool of
their own: TensorFlow may be loaded too, and registers the same messages in the common one.

Messages: tensorflow's `core/example/example.proto`, `feature.proto`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["message_classes"]


@cache
def message_classes(*, ordered: bool = False) -> dict[str, Any]:
    """The messages by name: Example, Features, Feature, BytesList, FloatList, Int64List.

    Args:
        ordered: Whether the map of features is a list of entries, which is the same on the wire
            (https://protobuf.dev/programming-guides/proto3, "Maps"): then their order is the
            writer's. What protobuf calls deterministic is another order in another release.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="finedata/tf_example.proto", package="finedata.tf", syntax="proto3"
    )

    def add(
        message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: int, **extra: Any
    ) -> None:
        label = extra.pop("label", field.LABEL_OPTIONAL)
        message.field.add(name=name, number=number, type=cast("Any", kind), label=label, **extra)

    lists = {"BytesList": field.TYPE_BYTES, "FloatList": field.TYPE_FLOAT}
    lists["Int64List"] = field.TYPE_INT64
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (list_name, kind) in enumerate(lists.items(), start=1):
        values = file.message_type.add(name=list_name)
        add(values, "value", 1, kind, label=field.LABEL_REPEATED)
        type_name = f".finedata.tf.{list_name}"
        name = ("bytes_list", "float_list", "int64_list")[number - 1]
        add(feature, name, number, field.TYPE_MESSAGE, type_name=type_name, oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = not ordered
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, type_name=".finedata.tf.Feature")
    entry_type = ".finedata.tf.Features.FeatureEntry"
    repeated = field.LABEL_REPEATED
    add(features, "feature", 1, field.TYPE_MESSAGE, type_name=entry_type, label=repeated)
    example = file.message_type.add(name="Example")
    add(example, "features", 1, field.TYPE_MESSAGE, type_name=".finedata.tf.Features")

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = (*lists, "Feature", "Features", "Example")
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"finedata.tf.{name}"))
        for name in names
    }
