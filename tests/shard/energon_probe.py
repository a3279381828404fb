"""Opens the folder of a set with the real megatron-energon and prints the keys of its samples.

Run in an environment that has it: energon_probe.py FOLDER SPLIT.
"""

from __future__ import annotations

import sys

from megatron.energon import (
    Cooker,
    TaskEncoder,
    WorkerConfig,
    get_loader,
    get_train_dataset,
    stateless,
)


@stateless
def as_it_is(sample):
    return sample


class Plain(TaskEncoder):
    cookers = [Cooker(as_it_is)]  # noqa: RUF012  (energon's own form)

    def batch(self, samples):
        return samples


def main() -> None:
    dataset = get_train_dataset(
        sys.argv[1],
        split_part=sys.argv[2],
        batch_size=1,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        task_encoder=Plain(),
        repeat=False,
    )
    for batch in get_loader(dataset):
        for sample in batch:
            shapes = ",".join(
                f"{name}:{'x'.join(map(str, value.shape))}"
                for name, value in sample.items()
                if hasattr(value, "shape")
            )
            print(sample["__key__"], shapes, sample["meta.json"]["frame_index"])


if __name__ == "__main__":
    main()
