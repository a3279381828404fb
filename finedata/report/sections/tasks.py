"""What a report says about tasks: a table of all, then the largest in detail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.report.drawing.clusters import dendrogram, marker, point_map
from finedata.report.drawing.svg import TIMES, count_text, counted, element, escape, number_text
from finedata.report.html import figure, jpeg_image, note, said, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.report.facts import TaskCount
    from finedata.report.tasks import RepresentativeFacts, TaskFacts

_MOST_ROWS = 100
_UNIT = "DTW distance"


def tasks_section(
    counts: Sequence[TaskCount], shown: Sequence[TaskFacts], *, clusters_shown: int
) -> str:
    """A table of tasks, then the largest in detail.

    Args:
        counts: All of them, largest first.
        shown: Those in detail.
        clusters_shown: Rows of a table of clusters at most.
    """
    rows = [
        [
            f"{said(c.task, longest=160)}<br><code>{escape(c.part)}/{escape(c.task_id)}</code>",
            c.written,
            c.through,
            c.clustered,
            c.clusters,
            c.representatives,
        ]
        for c in counts[:_MOST_ROWS]
    ]
    caption = counted(len(counts), "task")
    if len(counts) > _MOST_ROWS:
        caption += (
            f"; the {_MOST_ROWS} largest are listed, {count_text(len(counts) - _MOST_ROWS)} not"
        )
    heads = ["task", "written", "let through", "clustered", "clusters", "representatives"]
    made = [table(f"{caption}.", heads, rows)]
    clustered = sum(1 for c in counts if c.clustered)
    if shown:
        rest = clustered - len(shown)
        more = (
            f" {count_text(rest)} smaller ones are not shown (<code>--tasks</code>)."
            if rest
            else ""
        )
        made.append(
            f"<p>Below, the {count_text(len(shown))} largest clustered tasks in detail.{more} "
            "Points that lie near each other are episodes that move alike. The axes of a map mean "
            "nothing, its distances do. A ring marks the medoid of a cluster, a number a "
            "representative; the same numbers are on the film strips.</p>"
        )
    made += [_task(task, clusters_shown=clusters_shown) for task in shown]
    return "".join(made)


def _task(task: TaskFacts, *, clusters_shown: int) -> str:
    count = task.count
    made = [
        f"<h3>{said(count.task)}</h3>",
        note(
            f"<code>{escape(count.part)}/{escape(count.task_id)}</code> · "
            f"{counted(count.clustered, 'episode')} clustered of {count_text(count.written)} "
            f"written · {counted(len(task.clusters), 'cluster')} ({escape(task.k_origin)} k, "
            f"{escape(task.linkage)} linkage, {escape(task.method)}) · "
            f"{counted(count.representatives, 'representative')}"
        ),
        _pictures(task),
        _clusters(task, clusters_shown),
    ]
    made += [_card(r, task) for r in task.representatives]
    hidden = count.representatives - len(task.representatives)
    if hidden > 0:
        made.append(note(f"{count_text(hidden)} more representatives are not shown."))
    return "".join(made)


def _pictures(task: TaskFacts) -> str:
    made: list[str] = []
    if task.points:
        label = (
            f"Map of {len(task.points)} episodes in {len(task.clusters)} clusters, by the distance "
            "of their motion."
        )
        caption = (
            "Multidimensional scaling of the distances; the plane keeps "
            f"{100 * task.kept_share:.0f} % of them (positive eigenvalues)."
        )
        if task.points_left_out:
            caption += f" {count_text(task.points_left_out)} episodes are left out, drawn by seed."
        made.append(figure(point_map(task.points, label=label, unit=_UNIT), caption))
    if task.tree is not None:
        label = f"Dendrogram with {len(task.tree.leaves)} leaves, {task.linkage} linkage."
        caption = (
            f"Dendrogram, {escape(task.linkage)} linkage. Below a leaf: the number of a "
            f"representative, or {TIMES} how many episodes. {escape(task.tree_note)}"
        )
        drawing = dendrogram(task.tree, label=label, title=f"height of a merge ({_UNIT})")
        made.append(figure(drawing, caption))
    notes = {task.plane_note, "" if task.tree is not None else task.tree_note} - {""}
    said_notes = "".join(note(escape(text)) for text in sorted(notes))
    return f'<div class="pair">{"".join(made)}</div>{said_notes}' if made else said_notes


def _swatch(group: int) -> str:
    sign = marker(7.0, 7.0, 5.0, group)
    return element(
        "svg", sign, viewBox="0 0 14 14", width="14", height="14", class_="swatch",
        aria_hidden="true",
    )  # fmt: skip


def _clusters(task: TaskFacts, most: int) -> str:
    if task.count.clustered == 1:
        return ""
    rows = [
        [
            f"{_swatch(c.number)}{escape(c.label)}",
            c.size,
            c.representatives,
            c.mean_to_medoid,
            c.quality,
            f"<code>{escape(c.medoid)}</code>",
        ]
        for c in task.clusters[:most]
    ]
    caption = "Clusters."
    if len(task.clusters) > most:
        caption += f" {count_text(len(task.clusters) - most)} more are not listed."
    heads = ["cluster", "episodes", "representatives", "mean distance to medoid", "mean quality"]
    return table(caption, [*heads, "medoid"], rows)


def _card(found: RepresentativeFacts, task: TaskFacts) -> str:
    radius = number_text(found.coverage_radius)
    facts = [
        f"<strong>{escape(found.badge)}</strong> {_swatch(found.cluster)}cluster "
        f"{escape(found.cluster_label)}, {escape(found.role.replace('_', ' '))}, rank "
        f"{count_text(found.rank)}",
        f"stands for {count_text(found.represents)} of {count_text(task.count.clustered)}",
        f"coverage radius {radius}",
        f"quality {number_text(found.quality)}",
        f"{counted(found.length, 'frame')}, {number_text(found.duration_s)} s",
    ]
    words = f"<p>{' · '.join(facts)}<br><code>{escape(found.episode_id)}</code></p>"
    # The heading has the instruction; only another wording of the same task is worth repeating.
    if found.task != task.count.task:
        words += f"<p>{said(found.task)}</p>"
    return f'<div class="card">{words}{_strip(found)}</div>'


def _strip(found: RepresentativeFacts) -> str:
    strip = found.strip
    if strip.note:
        return note(escape(strip.note))
    frames: list[str] = []
    for frame in strip.frames:
        where = f"frame {frame.frame_index}, {number_text(frame.time_s)} s"
        if frame.jpeg is None:
            shown = '<div class="blank">does not decode</div>'
        else:
            alt = f"{strip.camera}, {where} of episode {found.episode_id}"
            shown = jpeg_image(frame.jpeg, alt=alt, width=frame.width, height=frame.height)
        frames.append(f"<li>{shown}{escape(number_text(frame.time_s))} s</li>")
    camera = f'aria-label="Film strip, camera {escape(strip.camera)}"'
    return f'<ul class="strip" {camera}>{"".join(frames)}</ul>'
