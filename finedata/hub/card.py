"""The dataset card: README.md with the header that the Hub reads, written from the data.

Everything in it is counted or quoted; nothing is claimed that the tables do not hold. What a person
wrote between `<!-- section: NAME -->` and `<!-- end: NAME -->` survives every new card, from the
card beside the data and from the one that is published.
"""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

from finedata.errors import UsageError
from finedata.hub.configs import read_configs
from finedata.hub.facts import count_annotations, count_funnel
from finedata.store.describe import flag_counts
from finedata.store.merge.licence import licence_conflicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.hub.facts import AnnotationCounts
    from finedata.hub.files import Publication, Upload

FUNNEL_PICTURE = "assets/funnel.png"
_SECTION = re.compile(r"<!-- section: ([\w -]+?) -->\n(.*?)<!-- end: \1 -->\n?", re.DOTALL)
_UNKNOWN = "unknown"
# Names of the Hub that are no lower-case SPDX name: https://huggingface.co/docs/hub/repositories-licenses
_HUB_NAMES = {
    "cc0": "cc0-1.0", "pddl-1.0": "pddl", "bsd-2-clause": "bsd-2-clause", "0bsd": "0bsd",
}  # fmt: skip
_KNOWN = frozenset(
    {
        "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-4.0",
        "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0", "cc0-1.0", "mit",
        "pddl", "0bsd",
    }
)  # fmt: skip
_SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
)  # fmt: skip
_BAR = (40, 24, 360)


def card_licence(found: Publication) -> dict[str, str]:
    """The licence of the whole, in the words of the card's header.

    Raises:
        UsageError: Licences of sources forbid each other.
    """
    licences = _licences(found)
    conflicts = licence_conflicts(licences)
    if conflicts:
        said = "; ".join(
            f"{one.first[0]} ({one.first[1]}) with {one.second[0]} ({one.second[1]}): {one.reason}"
            for one in conflicts
        )
        raise UsageError(
            place="licences",
            found=said,
            wanted="sources that may be published together",
            next_command="finedata export DIR --where \"source = '...'\" --out PART  # each alone",
        )
    names = sorted({_hub_licence(licence) for _, licence in licences})
    if names == [_UNKNOWN]:
        return {"license": _UNKNOWN}
    if len(names) == 1:
        return {"license": names[0]}
    return {
        "license": "other",
        "license_name": "several",
        "license_link": "#licences-and-citations",
    }


def write_card(
    found: Publication,
    uploads: Sequence[Upload],
    *,
    repo_id: str = "org/name",
    previous: Sequence[str] = (),
) -> str:
    """The text of README.md.

    Args:
        found: What is published.
        uploads: Its files.
        repo_id: For the lines that show how to load it.
        previous: Older cards; of sections of one name the first card's is kept.

    Raises:
        UsageError: Licences of sources forbid each other.
    """
    counts = count_annotations(found.dataset) if found.dataset is not None else None
    blocks = [
        _header(found, uploads, counts),
        f"# {_title(found)}\n",
        _what(found),
        _funnel(found),
        _words(found, counts),
        _shards(found),
        _loading(found, repo_id),
        _licence_section(found),
        _doubts(found),
    ]
    sections: dict[str, str] = {}
    for text in previous:
        for name, content in _SECTION.findall(text):
            sections.setdefault(name, content)
    blocks += [
        f"<!-- section: {name} -->\n{content}<!-- end: {name} -->\n"
        for name, content in sections.items()
    ]
    return "\n".join(block for block in blocks if block)


def draw_funnel(found: Publication) -> bytes:
    """The funnel as a PNG; empty where there is no dataset."""
    if found.dataset is None:
        return b""
    from PIL import Image, ImageDraw, ImageFont

    counts = count_funnel(found.dataset)
    left, step, wide = _BAR
    font = ImageFont.load_default(12)
    picture = Image.new("RGB", (left + wide + 260, step * len(counts) + 16), "white")
    draw = ImageDraw.Draw(picture)
    most = max(*counts.values(), 1)
    for row, (name, count) in enumerate(counts.items()):
        top = 8 + row * step
        width = max(round(wide * count / most), 1)
        draw.rectangle((8, top, 8 + width, top + step - 8), fill="#4c78a8")
        draw.text((16 + width, top + 1), f"{count:,} {name}", fill="black", font=font)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _header(found: Publication, uploads: Sequence[Upload], counts: AnnotationCounts | None) -> str:
    header: dict[str, Any] = {
        "pretty_name": _title(found),
        **card_licence(found),
        "task_categories": ["robotics"],
        "tags": ["robotics", "finedata"],
    }
    if found.has_lerobot_root:
        header["tags"] = ["LeRobot", *header["tags"]]
    if found.shards is not None:
        header["tags"].append("webdataset")
    if counts is not None:
        header["annotations_creators"] = counts.creators or ["no-annotation"]
    frames = _frames(found)
    header["size_categories"] = [next((name for most, name in _SIZES if frames < most), "n>1T")]
    header["configs"] = read_configs(found, uploads)
    # JSON is YAML: no library is needed, and no text can be read as something else.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in header.items()]
    return "\n".join(["---", *lines, "---", ""])


def _title(found: Publication) -> str:
    if found.dataset is not None:
        return ", ".join(source.title for source in found.dataset.info.sources)
    return ", ".join(sorted({one.source for one in _sets(found)}))


def _what(found: Publication) -> str:
    if found.dataset is None:
        return ""
    dataset = found.dataset
    lines = [
        "Robot demonstrations in one canonical form: poses as absolute positions in metres and "
        "unit quaternions (xyzw) in the arm's base frame, gripper 1 open and 0 closed, pictures "
        f"as the source stored them. Made by finedata {dataset.info.finedata_version}.\n",
        "| Part | Robot | Episodes | Frames | Hz |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {part.name} | {part.embodiment} | {part.episodes:,} | {part.frames:,} | {part.fps:g} |"
        for part in dataset.parts
    ]
    if found.tables_only:
        lines.append("\nOnly the tables are here: no pictures, videos or frames.")
    return "\n".join([*lines, ""])


def _funnel(found: Publication) -> str:
    if found.dataset is None:
        return ""
    rows = [f"| {name} | {count:,} |" for name, count in count_funnel(found.dataset).items()]
    head = ["## Where episodes went\n", "| Step | Episodes |", "|---|---|"]
    return "\n".join([*head, *rows, "", f"![The same as bars]({FUNNEL_PICTURE})", ""])


def _words(found: Publication, counts: AnnotationCounts | None) -> str:
    if found.dataset is None or counts is None or not counts.rows:
        return ""
    lines = ["## Words\n", "| Table | Rows | Written by |", "|---|---|---|"]
    for table, rows in counts.rows.items():
        by = ", ".join(f"{name} {count:,}" for name, count in counts.origins[table].items())
        lines.append(f"| {table} | {rows:,} | {by} |")
    if counts.rows.get("facts"):
        lines += [
            "\nFacts by dimension; what the motion says of them, and what people said of those "
            "that they looked at. Precision is the share that was accepted as it was.\n",
            "| Dimension | Facts | Confirmed | Contradicted | Untestable | Reviewed | Precision |",
            "|---|---|---|---|---|---|---|",
        ]
        for one in counts.dimensions:
            precision = f"{one.accepted / one.reviewed:.3f}" if one.reviewed else "not known"
            numbers = one.facts, one.confirmed, one.contradicted, one.untestable, one.reviewed
            told = " | ".join(f"{number:,}" for number in numbers)
            lines.append(f"| {one.dimension} | {told} | {precision} |")
        reviewed = sum(one.reviewed for one in counts.dimensions)
        if not reviewed:
            lines.append("\nNo person has looked at these facts.")
    return "\n".join([*lines, ""])


def _shards(found: Publication) -> str:
    if found.shards is None:
        return ""
    document = found.shards.document
    lines = [
        "## Shards\n",
        f"WebDataset tars in `{found.shards_prefix}tars/`; words of a fine-grained view pass the "
        f"policy `{document.options.text_policy}`.\n",
        "| Set | Episodes | Samples | Tars | Cameras |",
        "|---|---|---|---|---|",
    ]
    for one in document.sets:
        cameras = ", ".join(f"{c.name} {c.width}x{c.height} {c.codec}" for c in one.cameras)
        lines.append(
            f"| {one.name} | {one.episodes:,} | {one.samples:,} | {len(one.tars)} | {cameras} |"
        )
    return "\n".join([*lines, ""])


def _loading(found: Publication, repo_id: str) -> str:
    lines = ["## How to load it\n", "```python"]
    if found.dataset is not None:
        lines += [
            "import finedata",
            f'dataset = finedata.open("hf://datasets/{repo_id}")  # tables by ranges, pinned',
            'dataset.sql("select task, count(*) as n from episodes group by task")',
        ]
        if found.has_lerobot_root:
            lines += [
                "",
                "from lerobot.datasets.lerobot_dataset import LeRobotDataset",
                f'frames = LeRobotDataset("{repo_id}")',
            ]
        lines += [
            "",
            "import polars as pl",
            f'episodes = pl.scan_parquet("hf://datasets/{repo_id}/meta/episodes/*/*.parquet")'
            if [part.path for part in found.dataset.parts] == ["."]
            else f'receipts = pl.scan_parquet("hf://datasets/{repo_id}/curation/*.parquet")',
            "",
            "from datasets import load_dataset",
            f'receipts = load_dataset("{repo_id}", "receipts", split="train")',
        ]
    if found.shards is not None:
        tars = next(
            (
                f"{found.shards_prefix}tars/{one.name}/{one.tars[0].name}"
                for one in found.shards.document.sets
                if one.tars
            ),
            "",
        )
        if found.dataset is not None:
            lines.append("")
        where = f"{repo_id}/shards" if found.dataset is not None else repo_id
        lines += [
            "import finedata",
            f'batches = finedata.stream("hf://datasets/{where}", mix={{"raw": 1}})',
        ]
        if tars and not found.tables_only:
            lines += [
                "",
                "import webdataset as wds",
                f'samples = wds.WebDataset("https://huggingface.co/datasets/{repo_id}/resolve/main/'
                f'{tars}", shardshuffle=False)',
                *_tars_by_datasets(found, repo_id),
                "",
                "# megatron-energon: fetch a folder of tars first; each tar has its .tar.idx",
                f"# hf download {repo_id} --repo-type dataset --local-dir shards",
            ]
    return "\n".join([*lines, "```", ""])


def _tars_by_datasets(found: Publication, repo_id: str) -> list[str]:
    """How `datasets` reads the tars; see `configs` for why not by a configuration beside tables."""
    if found.dataset is None:
        return [
            "",
            "from datasets import load_dataset",
            f'samples = load_dataset("{repo_id}", "shards", split="train", streaming=True)',
        ]
    return [
        "",
        f'tars = "hf://datasets/{repo_id}/{found.shards_prefix}tars/*/train-*.tar"',
        'samples = load_dataset("webdataset", data_files=tars, split="train", streaming=True)',
    ]


def _licence_section(found: Publication) -> str:
    lines = ["## Licences and citations\n"]
    if found.dataset is None:
        lines += [f"- {source}: {licence}" for source, licence in sorted(_licences(found))]
        return "\n".join([*lines, ""])
    for source in found.dataset.info.sources:
        lines.append(
            f"- {source.title} (`{source.name}` {source.revision}), {source.licence}, "
            f"<{source.home}>: {source.citation}"
        )
    return "\n".join([*lines, ""])


def _doubts(found: Publication) -> str:
    if found.dataset is None:
        return ""
    flags = flag_counts(found.dataset)
    missing = sum(len(source.missing_shards) for source in found.dataset.info.sources)
    lines = [f"- {count:,} episodes: {name.replace('_', ' ')}" for name, count in flags.items()]
    if missing:
        lines.append(f"- {missing:,} files that the sources declare were not there")
    if not lines:
        return ""
    return "\n".join(["## Doubts\n", *lines, ""])


def _licences(found: Publication) -> set[tuple[str, str]]:
    pairs: set[tuple[str, str]] = set()
    if found.dataset is not None:
        pairs |= {(one.name, one.licence) for one in found.dataset.info.sources}
    pairs |= {(one.source, licence) for one in _sets(found) for licence in one.licences}
    return pairs


def _hub_licence(licence: str) -> str:
    name = licence.strip().casefold()
    name = _HUB_NAMES.get(name, name)
    return name if name in _KNOWN else _UNKNOWN


def _frames(found: Publication) -> int:
    if found.dataset is not None:
        return sum(part.frames for part in found.dataset.parts)
    return sum(one.samples for one in _sets(found))


def _sets(found: Publication) -> Sequence[Any]:
    return [] if found.shards is None else found.shards.document.sets
