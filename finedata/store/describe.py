"""What a person wants to know of a dataset first, on one page.

Sources with their licences, parts with their features, counts, flags, reasons of failure, and
which tables are there. The marker and a few counts tell all of it; no picture is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from finedata.store.lerobot.layout import read_info
from finedata.store.review_journal import read_journal

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

__all__ = ["describe", "description_text", "flag_counts"]


def flag_counts(dataset: Dataset) -> dict[str, int]:
    """How many episodes of a dataset have each flag, flags in order of their names."""
    flags = (
        dataset.receipts.select(pl.col("flags").explode(empty_as_null=True).alias("flag"))
        .drop_nulls()
        .group_by("flag")
        .len()
        .sort("flag")
    )
    return dict(flags.collect().iter_rows())


def describe(dataset: Dataset) -> dict[str, Any]:
    """Summarise a dataset.

    Returns:
        root, sources (name, revision, licence, citation), parts (name, fps, episodes, frames,
        features), counts, tasks, flags (name to episodes), reasons of failure, tables present.
    """
    reasons = (
        dataset.receipts.filter(pl.col("status") == "failed")
        .group_by("reason")
        .len()
        .sort("reason")
        .collect()
    )
    return {
        "root": str(dataset.root),
        "finedata_version": dataset.info.finedata_version,
        "sources": [
            {
                "name": source.name,
                "title": source.title,
                "revision": source.revision,
                "licence": source.licence,
                "home": source.home,
                "citation": source.citation,
                "missing_shards": len(source.missing_shards),
            }
            for source in dataset.info.sources
        ],
        "parts": [_part(dataset, part.path, msgspec.to_builtins(part)) for part in dataset.parts],
        "counts": dataset.info.counts,
        "derived_from": msgspec.to_builtins(dataset.info.derived_from),
        "tasks": dataset.episodes.select(pl.col("task_id").n_unique()).collect().item(),
        "flags": flag_counts(dataset),
        "failed_because": dict(reasons.iter_rows()),
        "tables": _present_tables(dataset),
    }


def _part(dataset: Dataset, path: str, entry: dict[str, Any]) -> dict[str, Any]:
    info = read_info(dataset.root / path)
    features = {
        name: {"dtype": feature["dtype"], "shape": feature["shape"], "names": feature["names"]}
        for name, feature in info["features"].items()
    }
    found: dict[str, Any] = {"renamed": {}, "left_out": {}}
    return found | entry | {"features": features}


def _present_tables(dataset: Dataset) -> list[str]:
    curation = {path.stem for path in dataset.root.glob("curation/*.parquet")}
    annotations = {path.parent.name for path in dataset.root.glob("annotations/*/*.parquet")}
    if read_journal(dataset.root).num_rows:
        annotations.add("reviews")
    return sorted({"episodes", "frames", "images"} | curation | annotations)


def description_text(found: dict[str, Any]) -> str:
    """The summary as a page of text."""
    counts = found["counts"]
    lines = [
        f"{found['root']}  (finedata {found['finedata_version']})",
        f"episodes  {counts['written']} written, {counts['failed']} failed of {counts['found']}",
        f"frames    {counts['frames_written']} written, {counts['frames_dropped']} dropped",
        f"tasks     {found['tasks']}",
    ]
    derived = found["derived_from"]
    if derived is not None:
        chosen = f" where {derived['where']}" if derived.get("where") else ""
        lines.append(f"derived   {derived['how']} of {len(derived['origins'])} dataset(s){chosen}")
    for source in found["sources"]:
        lines += [
            f"source    {source['title']} ({source['name']} {source['revision']}), "
            f"{source['licence']}, {source['home']}",
            f"          {source['citation']}",
        ]
        if source["missing_shards"]:
            lines.append(f"          {source['missing_shards']} declared shards were not there")
    for part in found["parts"]:
        lines.append(
            f"part      {part['name']}: {part['episodes']} episodes, {part['frames']} frames, "
            f"{part['fps']:g} Hz, in {part['path']}"
        )
        for name, feature in part["features"].items():
            names = f"  {' '.join(feature['names'])}" if feature["names"] else ""
            shape = "x".join(map(str, feature["shape"]))
            lines.append(f"          {name:<32} {feature['dtype']:<8} {shape:<10}{names}")
        for name, was in part["renamed"].items():
            lines.append(f"          {name} is {was} in the source")
        for name, why in part["left_out"].items():
            lines.append(f"          {name} was left out: {why}")
    lines += [f"flag      {name}: {count} episodes" for name, count in found["flags"].items()]
    lines += [
        f"failed    {name}: {count} episodes" for name, count in found["failed_because"].items()
    ]
    lines.append(f"tables    {', '.join(found['tables'])}")
    return "\n".join(lines)
