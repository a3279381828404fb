"""The card: its header is what the Hub reads, its numbers are those of the tables."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hub.loopback import Hub
from PIL import Image

import finedata
from finedata.errors import UsageError
from finedata.hub.card import card_licence, draw_funnel, write_card
from finedata.hub.files import read_roots
from finedata.schema.dimension import DIMENSIONS

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def header_of(text: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(text.split("---\n")[1])


def card_of(*roots: Path) -> str:
    found = read_roots(roots)
    return write_card(found, found.uploads(), repo_id="org/bridge")


def with_licences(root: Path, *licences: str) -> None:
    """Make a dataset's marker name one source for each licence."""
    path = root / "finedata.json"
    document = json.loads(path.read_bytes())
    source = document["sources"][0]
    document["sources"] = [
        source | {"name": f"source_{k}", "licence": licence} for k, licence in enumerate(licences)
    ]
    path.write_text(json.dumps(document))


@pytest.fixture
def copy(bridge: Path, tmp_path: Path) -> Path:
    root = tmp_path / "bridge"
    shutil.copytree(bridge, root)
    return root


def test_the_header_is_yaml_that_the_hub_reads(bridge: Path, shards: Path) -> None:
    header = header_of(card_of(bridge, shards))
    assert header["license"] == "cc-by-4.0"
    assert header["tags"] == ["LeRobot", "robotics", "finedata", "webdataset"]
    assert header["task_categories"] == ["robotics"]
    assert header["annotations_creators"] == ["found", "machine-generated"]
    assert header["size_categories"] == ["n<1K"]
    names = [one["config_name"] for one in header["configs"]]
    assert len(names) == len(set(names))
    assert {"frames", "episodes", "receipts", "gate", "facts", "instructions"} <= set(names)
    assert [one["config_name"] for one in header["configs"] if one.get("default")] == ["frames"]
    # Every file that holds data is in exactly one configuration.
    patterns = [
        pattern
        for one in header["configs"]
        for files in one["data_files"]
        for pattern in files["path"]
    ]
    found = read_roots([bridge, shards])
    for upload in found.uploads():
        path = upload.path
        rowless = path == "curation/clusters.parquet"
        if path == "meta/tasks.parquet" or rowless or not path.endswith(".parquet"):
            continue
        assert sum(Path(path).match(pattern) for pattern in patterns) == 1, path


def test_numbers_are_those_of_the_tables(bridge: Path) -> None:
    text = card_of(bridge)
    dataset = finedata.open(bridge)
    counts = dataset.count("facts", by="dimension")
    assert sum(counts.values()) > 0
    for name in DIMENSIONS:
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert int(cells[1].replace(",", "")) == counts.get(name, 0)
        assert sum(int(cell) for cell in cells[2:5]) == int(cells[1])
        assert cells[5:] == ["0", "not known"]
    assert "No person has looked at these facts." in text
    info = dataset.info
    assert f"| found in the sources | {info.counts['found']} |" in text
    assert info.sources[0].citation in text
    assert f"| representatives | {dataset.representatives.collect().height} |" in text
    # Doubts: each flag with its count.
    flagged = dataset.receipts.select(pl.col("flags").explode(empty_as_null=True)).collect()
    assert f"{flagged['flags'].drop_nulls().len() > 0}" == f"{'## Doubts' in text}"


def test_what_people_said_gives_a_precision(copy: Path) -> None:
    path = next((copy / "annotations" / "facts").glob("*.parquet"))
    facts = pl.read_parquet(path)
    said = ["accepted", "accepted", "accepted", "edited"]
    first = facts["dimension"][0]
    mine = facts.with_row_index().filter(pl.col("dimension") == first)["index"].to_list()[:4]
    status = facts["review_status"].to_list()
    for row, word in zip(mine, said, strict=True):
        status[row] = word
    schema = pq.read_schema(path)
    table = facts.with_columns(pl.Series("review_status", status)).to_arrow().cast(schema)
    pq.write_table(table, path)
    row = next(line for line in card_of(copy).splitlines() if line.startswith(f"| {first} |"))
    assert row.endswith("| 4 | 0.750 |")


def test_the_funnel_is_a_picture(bridge: Path) -> None:
    picture = draw_funnel(read_roots([bridge]))
    assert picture == draw_funnel(read_roots([bridge]))
    with Image.open(io.BytesIO(picture)) as opened:
        assert opened.format == "PNG"
        assert len(opened.convert("RGB").getcolors(1 << 20) or []) > 2


@pytest.mark.parametrize(
    ("licences", "wanted"),
    [
        (["MIT"], {"license": "mit"}),
        (["CC0"], {"license": "cc0-1.0"}),
        (["Apache-2.0", "Apache-2.0"], {"license": "apache-2.0"}),
        (["LicenseRef-unknown"], {"license": "unknown"}),
        (
            ["MIT", "CC-BY-4.0"],
            {
                "license": "other",
                "license_name": "several",
                "license_link": "#licences-and-citations",
            },
        ),
    ],
)
def test_licence(copy: Path, licences: list[str], wanted: dict[str, str]) -> None:
    with_licences(copy, *licences)
    assert card_licence(read_roots([copy])) == wanted
    anchor = wanted.get("license_link", "#licences-and-citations").lstrip("#")
    headings = re.findall(r"^## (.*)$", card_of(copy), re.MULTILINE)
    assert anchor in [one.lower().replace(" ", "-") for one in headings]


def test_licences_that_forbid_each_other_are_refused_by_name(hub: Hub, copy: Path) -> None:
    with_licences(copy, "CC-BY-NC-4.0", "CC-BY-SA-4.0")
    with pytest.raises(UsageError, match=r"source_0 \(CC-BY-NC-4.0\) with source_1"):
        finedata.card([copy])
    assert not (copy / "README.md").exists()
    with pytest.raises(UsageError, match="source_0"):
        finedata.publish([copy], repo_id="org/bridge")
    assert hub.seen == []


def test_sections_of_a_person_survive(hub: Hub, copy: Path) -> None:
    mine = "<!-- section: thanks -->\n## Thanks\n\nto all | of: you\n<!-- end: thanks -->\n"
    files = finedata.card([copy])
    assert [path.name for path in files] == ["README.md", "funnel.png"]
    readme = copy / "README.md"
    readme.write_text(readme.read_text() + mine)
    finedata.card([copy])
    assert mine in readme.read_text()
    finedata.publish([copy], repo_id="org/bridge")
    assert mine in hub.content("org/bridge", "README.md").decode()
    # Written on the Hub's own page, without a card beside the data.
    readme.unlink()
    finedata.open(copy).gate(threshold=1e9)
    finedata.publish([copy], repo_id="org/bridge")
    assert mine in hub.content("org/bridge", "README.md").decode()


def test_a_card_of_shards_alone(shards: Path) -> None:
    text = card_of(shards)
    header = header_of(text)
    assert "LeRobot" not in header["tags"]
    assert "annotations_creators" not in header
    assert [one["config_name"] for one in header["configs"]] == ["shards"]
    assert header["configs"][0]["data_files"][0]["path"] == [
        f"tars/{name}/train-*.tar" for name in sorted(p.name for p in (shards / "tars").iterdir())
    ]
    assert "`not_contradicted`" in text
