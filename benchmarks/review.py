"""The web app over 50,000 episodes and 1,000,000 facts, measured in a real Chromium.

    python benchmarks/review.py --scratch DIR [--episodes 50000] [--facts 1000000]

Made once in DIR: 24 episodes with three cameras of 256x256, whose rows of `episodes` are repeated
under other ids, and facts of two runs. Then `finedata review` is started over it, and a browser
does what a reviewer does:

start      from the command until it listens, and CPU seconds of that
browse     the page of all episodes, and one filtered by words of a fact
episode    from the address until the first frame of every camera is drawn; the first of all apart
decide     from the key until the answer is there: the decision is on the disk
next       from the key until the next fact's page can be used
undo       the same for an undo
scrub      one frame a repaint, back and forth: repaints a second, how long the longest took, and
           how many were drawn

and memory of the server, its peak since it began. CPU seconds are the server's; clock figures are
worth something on a quiet machine only, so the load is printed beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

# Not this folder, which comes first: the tests' package has this file's name.
sys.path[0] = str(Path(__file__).parent.parent / "tests")

from finedata.schema.dimension import SLOT_DIMENSION  # noqa: E402
from finedata.schema.tables.all import build_schema, declared_table  # noqa: E402
from finedata.store.tables.table import append_rows  # noqa: E402

REAL_EPISODES = 24
AT_ONCE = 100_000
THINGS = ("cup", "drawer", "towel", "knife", "pot", "sponge", "carrot", "lid")
VERDICTS = ("untestable", "confirmed", "contradicted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=50_000)
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=12)
    parser.add_argument("--decisions", type=int, default=30)
    options = parser.parse_args()
    root = options.scratch / f"tiled-{options.episodes}-{options.facts}"
    annotations, made = root / "annotations", root / "made.json"
    if not made.exists():
        shutil.rmtree(root, ignore_errors=True)
        make(root, options.scratch, options.episodes, options.facts)
        made.write_text(json.dumps([str(path) for path in annotations.glob("*/*.parquet")]))
    known = set(json.loads(made.read_text()))
    for path in annotations.glob("*/*.parquet"):
        if str(path) not in known:
            path.unlink()  # what an earlier run decided
    shutil.rmtree(annotations / "reviews", ignore_errors=True)
    measure(root, options.pages, options.decisions)


def make(root: Path, scratch: Path, episodes: int, facts: int) -> None:
    """A few real episodes, and many rows that point at them."""
    from corpora.corpus import write_bridge_corpus

    import finedata

    source = scratch / "source"
    shutil.rmtree(source, ignore_errors=True)
    write_bridge_corpus(
        source, episodes=REAL_EPISODES, real_cameras=3, cameras=3, with_defects=False
    )
    dataset = finedata.source("bridge_v2", source / "bridge_dataset" / "1.0.0").convert(root)
    dataset.gate()
    [path] = (root / "meta" / "episodes").glob("*/*.parquet")
    table: pa.Table = pq.read_table(path)
    wanted = np.arange(episodes) % table.num_rows
    tiled = table.take(pa.array(wanted))
    ids = [f"bridge_v2-{_hash(n)}" for n in range(episodes)]
    at = tiled.schema.get_field_index("episode_id")
    tiled = tiled.set_column(at, tiled.schema.field("episode_id"), pa.array(ids))
    path.unlink()
    pq.write_table(tiled.replace_schema_metadata(table.schema.metadata), path, compression="zstd")
    lengths = tiled["length"].to_numpy()
    fps = tiled["fps"].to_numpy()
    each = facts // episodes
    random_numbers = np.random.default_rng(0)
    with append_rows(root, ("facts",)) as writer:
        for first in range(0, facts, AT_ONCE):
            numbers = np.arange(first, min(facts, first + AT_ONCE))
            of = np.minimum(numbers // each, episodes - 1)
            writer.add_table(
                "facts", facts_of(numbers, of, ids, lengths[of], fps[of], random_numbers)
            )


def facts_of(
    numbers: np.ndarray,
    of: np.ndarray,
    ids: list[str],
    lengths: np.ndarray,
    fps: np.ndarray,
    drawn_from: np.random.Generator,
) -> pa.Table:
    """Facts of two runs; ids are as random as real ones."""
    count = len(numbers)
    slots = np.array(list(SLOT_DIMENSION))[drawn_from.integers(0, len(SLOT_DIMENSION), count)]
    things = np.array(THINGS)[drawn_from.integers(0, len(THINGS), count)]
    start = (drawn_from.random(count) * (lengths - 2)).astype(np.int32)
    end = np.minimum(start + 1 + drawn_from.integers(1, 12, count), lengths).astype(np.int32)
    verdicts = np.array(VERDICTS)[np.searchsorted([0.6, 0.9], drawn_from.random(count))]
    columns: dict[str, Any] = {
        "fact_id": [_hash(f"fact {n}") for n in numbers],
        "episode_id": [ids[n] for n in of],
        "dimension": [SLOT_DIMENSION[slot] for slot in slots],
        "slot": slots.tolist(),
        "value": things.tolist(),
        "text": [
            f"The right arm moves the {t} at step {n % 31}."
            for t, n in zip(things, numbers, strict=True)
        ],
        "anchor": ["episode"] * count,
        "start_frame": start,
        "end_frame": end,
        "start_s": start / fps,
        "end_s": end / fps,
        "kinematic_verdict": verdicts.tolist(),
        "confidence": drawn_from.random(count).astype(np.float32),
        "origin": ["teacher"] * count,
        "annotator": ["model"] * count,
        "run_id": [f"{n % 2:016x}" for n in numbers],
        "revision": np.zeros(count, np.int32),
        "review_status": ["unreviewed"] * count,
    }
    schema = build_schema(declared_table("facts"))
    nothing = [None] * count
    return pa.table({name: columns.get(name, nothing) for name in schema.names}, schema=schema)


def _hash(value: object) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()[:16]


def cpu_s(process: int) -> float:
    """User and system seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: int) -> tuple[float, float]:
    """Resident now, and at its peak."""
    told = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
    )
    now, peak = (int(told[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def measure(root: Path, pages: int, decisions: int) -> None:
    """Start the server, drive the browser, print what was found."""
    from playwright.sync_api import sync_playwright

    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    began = time.perf_counter()
    command = [sys.executable, "-c", "from finedata.cli import main; main()"]
    command += ["review", str(root), "--no-browser", "--json", "--port", "0", "--reviewer", "ana"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = json.loads(server.stdout.readline())["address"].rstrip("/")
        took = time.perf_counter() - began
        now, peak = memory_mb(server.pid)
        print(f"start: {took:.2f} s, CPU {cpu_s(server.pid):.2f} s, {now:.0f} MB, peak {peak:.0f}")
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            looking(page, address, root, pages, server.pid)
            deciding(page, address, decisions, server.pid)
            scrubbing(page, address, root)
            browser.close()
        now, peak = memory_mb(server.pid)
        print(f"memory of the server: {now:.0f} MB now, {peak:.0f} MB at its peak")
    finally:
        server.terminate()
        server.wait(120)
    print(f"load {os.getloadavg()[0]:.1f}")


USABLE = """() => document.documentElement?.dataset.ready === 'yes' &&
  [...document.querySelectorAll('canvas[data-camera]')].every(c => c.dataset.frame !== undefined)"""


def looking(page: Any, address: str, root: Path, pages: int, server: int) -> None:
    """Pages of episodes and of lists."""
    for name, path in [("browse", "/episodes"), ("words", "/episodes?q=sponge+at+step+7")]:
        before, began = cpu_s(server), time.perf_counter()
        page.goto(f"{address}{path}", wait_until="domcontentloaded")
        page.wait_for_selector(".card")
        shown = time.perf_counter() - began
        spent, (now, _) = cpu_s(server) - before, memory_mb(server)
        print(f"{name}: list shown {shown:.2f} s, server CPU {spent:.2f} s; {now:.0f} MB now")
    ids = pl.scan_parquet(root / "meta/episodes/*/*.parquet").select("episode_id").collect()
    chosen = random.Random(1).sample(ids["episode_id"].to_list(), pages)
    times: list[float] = []
    before = cpu_s(server)
    for one in chosen:
        began = time.perf_counter()
        page.goto(f"{address}/episode/{one}", wait_until="commit")
        page.wait_for_function(USABLE)
        times.append(time.perf_counter() - began)
    spent, (now, _) = (cpu_s(server) - before) / pages, memory_mb(server)
    print(
        f"episode: first {times[0]:.2f} s, then median {statistics.median(times[1:]):.2f} s, "
        f"longest {max(times[1:]):.2f} s; server CPU {spent:.3f} s a page; {now:.0f} MB now"
    )


def deciding(page: Any, address: str, decisions: int, server: int) -> None:
    """Accept one fact after the other, then take some back."""
    page.goto(f"{address}/review")
    ready = "html[data-review=ready]:not([data-old])"
    page.wait_for_selector(ready)
    for key, path in [("a", "/decide"), ("u", "/undo")]:
        trips: list[float] = []
        whole: list[float] = []
        before = cpu_s(server)
        for _ in range(decisions if key == "a" else max(2, decisions // 3)):
            page.wait_for_function(USABLE)
            page.evaluate("() => { document.documentElement.dataset.old = 'yes' }")
            began = time.perf_counter()
            with page.expect_response(lambda answer, path=path: answer.url.endswith(path)) as told:
                page.keyboard.press(key)
            told.value.finished()
            assert told.value.ok, told.value.text()
            timing = told.value.request.timing
            trips.append(timing["responseEnd"] - timing["requestStart"])
            page.wait_for_selector(ready)
            page.wait_for_function(USABLE)
            whole.append(time.perf_counter() - began)
        spent = (cpu_s(server) - before) / len(trips)
        name = "decide" if key == "a" else "undo"
        print(
            f"{name}: round trip median {statistics.median(trips):.1f} ms, longest "
            f"{max(trips):.1f} ms; next page usable after median {statistics.median(whole):.2f} s; "
            f"server CPU {spent * 1000:.0f} ms for decision and next page"
        )


SCRUB = """(seconds) => new Promise((done) => {
  const scrub = document.getElementById('scrub'), last = Number(scrub.max);
  const canvases = [...document.querySelectorAll('canvas[data-camera]')];
  let at = 0, way = 1, repaints = 0, drawn = 0, longest = 0, before = null, began = null;
  const step = (now) => {
    if (began === null) began = now;
    if (before !== null) { longest = Math.max(longest, now - before); repaints += 1; }
    before = now;
    if (canvases.every((one) => Number(one.dataset.frame) === at)) drawn += 1;
    if (now - began > seconds * 1000)
      return done({fps: repaints * 1000 / (now - began), longest, drawn: drawn / (repaints + 1)});
    if (at + way < 0 || at + way > last) way = -way;
    at += way;
    scrub.value = at;
    scrub.dispatchEvent(new Event('input'));
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


def scrubbing(page: Any, address: str, root: Path) -> None:
    """Move the scrub bar by a frame at every repaint."""
    ids = pl.scan_parquet(root / "meta/episodes/*/*.parquet").select("episode_id", "length")
    longest = ids.sort("length", descending=True).head(1).collect()["episode_id"][0]
    page.goto(f"{address}/episode/{longest}")
    page.wait_for_function(USABLE)
    cameras = page.locator("canvas[data-camera]").count()
    page.evaluate(SCRUB, 1.5)  # pictures come and are decoded
    found = page.evaluate(SCRUB, 5)
    print(
        f"scrub of {cameras} cameras: {found['fps']:.1f} repaints a second, longest "
        f"{found['longest']:.0f} ms, {100 * found['drawn']:.1f} % drawn in their own repaint"
    )


if __name__ == "__main__":
    main()
