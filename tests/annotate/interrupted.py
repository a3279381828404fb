"""A run of annotation in a process of its own, that dies where it is told to.

    python tests/annotate/interrupted.py ROOT LOG calls=20
    python tests/annotate/interrupted.py ROOT LOG files=2

It writes a line to LOG for every answer that was given, and dies as by kill -9 after so many
answers, or as soon as so many files of the run have taken their names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))


def main(root: str, log: str, death: str) -> None:
    from annotate.scripted import Scripted

    import finedata.store.atomic as atomic
    from finedata.annotate.asking.limits import AskOptions
    from finedata.annotate.run import annotate_facts
    from finedata.annotate.selection import Choice
    from finedata.annotate.settings import AnnotateSettings

    what, _, after = death.partition("=")
    left = int(after)

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(9)

    def answered(request, value):
        if what == "calls":
            count()
        with Path(log).open("a") as lines:
            lines.write(f"{request.call_id}\n")
        return value

    sync = atomic.sync_folder

    def synced(folder: Path) -> None:
        sync(folder)
        if what == "files" and "annotations" in folder.parts:
            count()

    atomic.sync_folder = synced
    annotate_facts(
        root,
        teacher=Scripted(answered, delay_s=0.01),
        settings=AnnotateSettings(teacher="openai", model="m"),
        options=AskOptions(concurrency=4, backoff_s=0.0),
        choice=Choice(everything=True),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
