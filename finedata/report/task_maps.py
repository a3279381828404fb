"""What of a task can be drawn: its map and its tree, as far as its distances are known.

Where distances are missing there is a sentence instead, and where only some are known (landmarks)
a sentence says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from finedata.cluster.distance.condensed import square_of, sub_condensed
from finedata.cluster.embedding import classical_mds
from finedata.cluster.group.linkage import flat_labels, in_order_of_first, linkage_of
from finedata.report.drawing.clusters import MapPoint, Tree
from finedata.report.drawing.trees import tree_of

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

_TRIVIAL = "The task has too few episodes to compare."
_NO_LEDGER = (
    "The distances are not in this folder's ledger: clustered elsewhere, or the ledger was removed."
)
Found: TypeAlias = "tuple[list[str], NDArray[np.floating]] | None"


def _known(rows: pl.DataFrame, found: Found) -> tuple[list[int], str]:
    """Which of the ledger's episodes are clustered here, and what to say about it."""
    method = rows["method"][0]
    if found is None:
        return [], _TRIVIAL if method == "trivial" else _NO_LEDGER
    mine = set(rows["episode_id"].to_list())
    kept = [i for i, episode_id in enumerate(found[0]) if episode_id in mine]
    if len(kept) < 2:
        return [], _TRIVIAL if len(mine) < 2 else _NO_LEDGER
    if not np.isfinite(found[1]).all():
        return [], "Some distances are not numbers."
    if len(kept) == len(mine):
        return kept, ""
    which = "landmarks" if method == "landmark" else "episodes whose distances were computed"
    return kept, f"Only the {len(kept):,} {which}, of {len(mine):,} episodes, are shown."


def plane_of(
    rows: pl.DataFrame,
    number: dict[str, int],
    badges: dict[str, str],
    found: Found,
    *,
    most: int,
    seed: int,
) -> tuple[list[MapPoint], int, float, str]:
    """Lay a task's episodes in a plane.

    Args:
        rows: Its clusters, by episode_id.
        number: cluster_id to number.
        badges: episode_id to the number of a representative.
        found: Its distances.
        most: Points at most; medoids and representatives come first.
        seed: Draws the others where there are too many.

    Returns:
        The points, how many are left out, the share that the plane keeps, and what to say.
    """
    kept, note = _known(rows, found)
    if not kept or found is None:
        return [], 0, 0.0, note
    at = {found[0][i]: i for i in kept}
    records: list[dict[str, Any]] = [r for r in rows.to_dicts() if r["episode_id"] in at]
    if len(records) > most:
        always = [r for r in records if r["is_medoid"] or r["episode_id"] in badges]
        always = always[:most]
        others = [r for r in records if not (r["is_medoid"] or r["episode_id"] in badges)]
        generator = np.random.Generator(np.random.PCG64(seed))
        drawn = generator.choice(len(others), max(most - len(always), 0), replace=False)
        records = always + [others[i] for i in sorted(drawn.tolist())]
    index = np.array([at[r["episode_id"]] for r in records], np.int64)
    square = square_of(sub_condensed(found[1], index))
    plane = classical_mds(square.astype(np.float64))
    points = [
        MapPoint(
            x=float(x),
            y=float(y),
            group=number[r["cluster_id"]],
            name=f"{r['episode_id']}, cluster {r['cluster_id'].rsplit('/', 1)[-1]}",
            medoid=r["is_medoid"],
            badge=badges.get(r["episode_id"], ""),
        )
        for r, (x, y) in zip(records, plane.points, strict=True)
    ]
    return points, len(at) - len(points), plane.kept_share, note


def task_tree(
    rows: pl.DataFrame,
    number: dict[str, int],
    badges: dict[str, str],
    found: Found,
    *,
    most_leaves: int,
) -> tuple[Tree | None, str]:
    """The hierarchy of a task and what to say of it; see `plane_of`.

    Args:
        rows: See `plane_of`.
        number: See `plane_of`.
        badges: See `plane_of`.
        found: See `plane_of`.
        most_leaves: Leaves at most.
    """
    kept, note = _known(rows, found)
    if not kept or found is None:
        return None, note
    ids = [found[0][i] for i in kept]
    cluster_of: dict[str, str] = dict(rows.select("episode_id", "cluster_id").iter_rows())
    method = rows["linkage"][0]
    if method not in ("average", "complete", "single"):
        return None, f"Linkage {method} has no tree of distances."
    try:
        whole = len(kept) == len(found[0])
        condensed = found[1] if whole else sub_condensed(found[1], kept)
        merges = linkage_of(condensed, method=method)
    except ImportError:
        return None, "Dendrograms need SciPy: pip install 'finedata[curate]'."
    groups = np.array([number[cluster_of[i]] for i in ids], np.int64)
    # Recursive splits, and rules that set odd episodes apart, cut at no one height.
    cut = in_order_of_first(groups).tolist() == flat_labels(merges, len(number)).tolist()
    tree = tree_of(
        merges,
        groups,
        [badges.get(i, "") for i in ids],
        flat_clusters=len(number) if cut else None,
        most_leaves=most_leaves,
    )
    if len(ids) > most_leaves:
        note = f"{note} The last {most_leaves - 1} of {len(ids) - 1:,} merges.".strip()
    return tree, note
