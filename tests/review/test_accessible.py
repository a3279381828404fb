"""Every page, light and dark, wide and narrow, passes the checks of axe-core.

axe-core is Deque's checker (MPL-2.0); it is fetched by npm into pytest's cache, never kept here.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from review.conftest import page_of, running

from finedata.store.dataset import open_dataset

AXE = "axe-core@4.14.1"
_RUN = """axe.run().then(found => found.violations.map(one =>
`${one.id} (${one.impact}) x ${one.nodes.length}: ${one.nodes[0].html.slice(0, 120)}`))"""


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checker's script, or a skip with the reason."""
    cache = getattr(request.config, "cache", None)
    folder = tmp_path_factory.mktemp("axe")
    kept = (folder if cache is None else cache.mkdir("axe")) / f"{AXE}.js"
    if not kept.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm on this machine, which would fetch axe-core")
        command = [npm, "pack", AXE, "--silent", "--pack-destination", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=60, check=False, cwd=folder)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not fetch axe-core within a minute")
        [*archives] = folder.glob("*.tgz")
        if done.returncode or not archives:
            pytest.skip(f"npm could not fetch axe-core: {done.stderr.decode()[-200:]}")
        with tarfile.open(archives[0]) as archive:
            script = archive.extractfile("package/axe.min.js")
            assert script is not None
            kept.write_bytes(script.read())
    return kept.read_text("utf-8")


@pytest.fixture(scope="module")
def address(looked_at: Path, browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("accessible") / "bridge"
    shutil.copytree(looked_at, root)
    with running(root, "--reviewer", "ana", verb="review") as (found, _):
        yield found


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_passes(
    looked_at: Path, address: str, browser, axe: str, scheme: str, width: int
) -> None:
    rows = open_dataset(looked_at).episodes.collect().drop_nulls("task_id")
    first, second = rows["episode_id"].to_list()[:2]
    paths = ["/episodes", f"/episode/{first}", "/review", "/tasks", f"/task/{rows['task_id'][0]}"]
    paths += [f"/compare?a={first}&b={second}", "/quality", "/episodes?sql=nope"]
    found: dict[str, list[str]] = {}
    # the checker is no script of ours, which the pages' policy would refuse
    with page_of(browser, color_scheme=scheme, bypass_csp=True) as page:
        page.set_viewport_size({"width": width, "height": 800})
        for path in paths:
            page.goto(f"{address}{path}")
            if '<script type="module"' in page.content():
                page.wait_for_selector("[data-ready]")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.evaluate(axe)
            if wrong := page.evaluate(_RUN):
                found[path] = wrong
    assert not found
