"""An episode's steps: runs of texts and numbers, ranges in sidecars, real annotations."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from convert.language_episode import CSV, FakeEpisode, steps_of, texts_of, words

from finedata.convert.language.read import EpisodeLanguage, read_language
from finedata.readers.files import open_folder
from finedata.readers.sidecars import forget_sidecars
from finedata.schema.language_spec import LanguageSpec

# Steps of a text or of numbers a frame


def test_runs_leave_out_what_means_nothing() -> None:
    found = words(
        '[[steps]]\nform = "runs"\nfeature = "a"\nignore = ["null"]\n'
        'kind = "quality"\narm = "left"',
        {"a": ["null", "x", "x", "null", "x", "y", "dropped"]},
        frames=6,
    )
    assert steps_of(found) == [
        (1, 3, "x", "gap"),
        (4, 5, "x", "gap"),
        (5, 6, "y", None),
    ]
    assert {(step.kind, step.arm) for step in found.steps} == {("quality", "left")}
    assert found.flags == ()


def test_one_run_that_repeats_the_goal_is_no_step() -> None:
    toml = 'instructions = ["goal"]\n[[steps]]\nform = "runs"\nfeature = "a"'
    assert words(toml, {"goal": ["x"], "a": ["x"] * 4}, frames=4).steps == ()
    assert steps_of(words(toml, {"goal": ["z"], "a": ["x"] * 4}, frames=4)) == [(0, 4, "x", None)]
    assert steps_of(words(toml, {"goal": ["z"], "a": ["x"]}, frames=4)) == [(0, 4, "x", None)]
    assert words(toml, {"goal": ["z"]}, frames=4).steps == ()


_SLOTS = (
    '[[steps]]\nform = "slots"\nfeature = "slots"\nvocabulary = "words"\nignore = ["null","End"]'
)


def test_slots_give_the_runs_of_each_text_whatever_its_slot() -> None:
    slots = [[1, 0, 0], [1, 2, 0], [2, 1, 0], [2, 0, 0], [4, 0, -1], [1, 0, 0]]
    found = words(
        _SLOTS, {"slots": slots_of(slots), "words": ["null", "a", "b", "", "END", "c"]}, frames=6
    )
    assert steps_of(found) == [(0, 3, "a", None), (1, 4, "b", None), (5, 6, "a", None)]
    assert found.flags == ()


def slots_of(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.int32)


def test_one_slot_may_be_a_plain_column() -> None:
    found = words(_SLOTS, {"slots": np.array([0, 1, 1]), "words": ["null", "a"]}, frames=2)
    assert steps_of(found) == [(1, 2, "a", None)]


def test_slots_of_arms_are_read_one_by_one() -> None:
    toml = _SLOTS + '\narms = ["left", "right"]\nkind = "primitive"'
    found = words(
        toml, {"slots": slots_of([[1, 1], [1, 2]]), "words": ["null", "a", "b"]}, frames=2
    )
    assert [(step.arm, step.start_frame, step.end_frame, step.text) for step in found.steps] == [
        ("left", 0, 2, "a"),
        ("right", 0, 1, "a"),
        ("right", 1, 2, "b"),
    ]


@pytest.mark.parametrize(
    ("features", "flag", "steps"),
    [
        ({"words": ["a"]}, "annotation_missing", 0),
        ({"slots": slots_of([[0]])}, "annotation_missing", 0),
        ({"slots": slots_of([[0], [9]]), "words": ["a"]}, "annotation_unreadable", 1),
        ({"slots": np.array([0.0, np.nan]), "words": ["a"]}, "annotation_unreadable", 0),
        ({"slots": np.zeros((0, 5), int), "words": ["a"]}, "annotation_unreadable", 0),
    ],
)
def test_slots_without_words_are_a_flag(features: dict[str, Any], flag: str, steps: int) -> None:
    found = words(_SLOTS, features)
    assert (found.flags, len(found.steps)) == ((flag,), steps)


# Steps of ranges in sidecars

_NAMED = """
[[steps]]
form = "frame_name_ranges"
files = ["notes/*.json"]
key = "{path/path}"
language = "en"
"""


_LABELLED = """
[[steps]]
form = "label_ranges"
files = ["label.json"]
key = "{episode}"
ignore = ["end"]
"""


def _named(tmp_path: Path, ranges: list[tuple[int, int]], *, frames: int) -> EpisodeLanguage:
    steps = [
        {
            "step_description": f"s{number}",
            "start_frame": f"camera_0_{first:04d}.jpg",
            "end_frame": f"camera_0_{last:04d}.jpg",
        }
        for number, (first, last) in enumerate(ranges)
    ]
    record = {"id": "h5/e", "response": {"task_summary": "tidy up", "steps": steps}}
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "h5_b.json").write_text(json.dumps([{"id": "other"}, record]))
    (tmp_path / "notes" / "h5_a.json").write_text('[{"id": "h5/unlike"}]')
    return words(_NAMED, folder=tmp_path, path={"path": "h5/e"}, frames=frames)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([(0, 23), (30, 96)], [(0, 24, None), (30, 97, "gap")]),
        ([(0, 9), (10, 19)], [(0, 10, None), (10, 20, None)]),
        ([(0, 9), (9, 19)], [(0, 9, None), (9, 20, None)]),
        ([(0, 9), (5, 19)], [(0, 10, None), (5, 20, "overlap")]),
        ([(0, 9), (8, 3)], [(0, 10, None), (8, 4, "reversed")]),
        ([(0, 99), (100, 100)], [(0, 100, None), (100, 101, "out_of_range")]),
        ([(0, 9), (8, 7)], [(0, 10, None), (8, 8, "reversed")]),
        ([(0, 50), (10, 20), (30, 60)], [(0, 51, None), (10, 21, "overlap"), (30, 61, None)]),
        ([(2, 9)], [(2, 10, "gap")]),
        ([(4, 4)], [(4, 5, "gap")]),
        ([(0, 4), (4, 4), (4, 9)], [(0, 4, None), (4, 5, None), (4, 10, None)]),
        ([(0, 4), (4, 4), (3, 9)], [(0, 4, None), (4, 5, None), (3, 10, "overlap")]),
    ],
)
def test_ranges_of_frame_names(
    tmp_path: Path, ranges: list[tuple[int, int]], expected: list[tuple[int, int, str | None]]
) -> None:
    found = _named(tmp_path, ranges, frames=100)
    assert [(step.start_frame, step.end_frame, step.problem) for step in found.steps] == expected
    assert texts_of(found) == ["tidy up"]
    wrong = {problem for _, _, problem in expected} - {None, "gap"}
    assert found.flags == (("step_problems",) if wrong else ())


def test_a_wrong_range_without_a_text_is_kept_with_its_problem(tmp_path: Path) -> None:
    steps = [
        {
            "step_description": text,
            "start_frame": f"c_{first:04d}.jpg",
            "end_frame": f"c_{last}.jpg",
        }
        for first, last, text in [(0, 20, "reach"), (50, 0, ""), (21, 30, "")]
    ]
    record = {"id": "h5/e", "response": {"task_summary": "tidy up", "steps": steps}}
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.json").write_text(json.dumps([record]))
    found = words(_NAMED, folder=tmp_path, path={"path": "h5/e"}, frames=60)
    assert steps_of(found) == [(0, 21, "reach", None), (50, 1, "", "reversed")]
    assert found.flags == ("step_problems",)


def test_what_one_place_lacks_and_another_has_is_not_missing(tmp_path: Path) -> None:
    """A table of goals is not there; the steps are, and bring a goal with them."""
    lookup = '[[lookup]]\nfiles = ["goals.csv"]\nkey = "x"\ntexts = ["goal"]\n'
    steps = [{"step_description": "s", "start_frame": "c_0000.jpg", "end_frame": "c_0009.jpg"}]
    record: dict[str, Any] = {"id": "h5/e", "response": {"task_summary": "tidy up", "steps": steps}}
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.json").write_text(json.dumps([record]))
    assert words(lookup + _NAMED, folder=tmp_path, path={"path": "h5/e"}).flags == ()
    record["response"].pop("task_summary")  # no goal anywhere: the table is missed
    (tmp_path / "notes" / "a.json").write_text(json.dumps([record | {}]))
    forget_sidecars()
    found = words(lookup + _NAMED, folder=tmp_path, path={"path": "h5/e"})
    assert found.flags == ("annotation_missing",)


def _labelled(tmp_path: Path, annotation: Any) -> EpisodeLanguage:
    (tmp_path / "label.json").write_text(
        json.dumps([{"episode_index": 0}, {"episode_index": 4, "annotation": annotation}])
    )
    return words(_LABELLED, {"episode": np.array([4, 4])}, folder=tmp_path, frames=20)


def test_ranges_of_labels_count_from_one_and_share_their_ends(tmp_path: Path) -> None:
    labels = [
        {"ranges": [{"start": start, "end": end}], "timelinelabels": [text]}
        for start, end, text in [(1, 8, "a"), (8, 15, "b"), (15, 20, "end")]
    ]
    found = _labelled(tmp_path, {"videoLabels": labels})
    assert steps_of(found) == [(0, 7, "a", None), (7, 14, "b", None)]
    assert found.flags == ()


def test_the_last_label_ends_with_the_episode(tmp_path: Path) -> None:
    labels = [{"ranges": [{"start": 1, "end": 20}], "timelinelabels": ["a"]}]
    assert steps_of(_labelled(tmp_path, {"videoLabels": labels})) == [(0, 20, "a", None)]


def test_no_annotation_is_no_fault(tmp_path: Path) -> None:
    found = _labelled(tmp_path, None)
    assert (found.steps, found.flags) == ((), ())


@pytest.mark.parametrize(
    "annotation",
    [
        5,
        {"videoLabels": 1},
        {"videoLabels": [{"ranges": [{"start": 1}], "timelinelabels": ["a"]}]},
        {"videoLabels": [{"ranges": [{"start": 1, "end": 2**40}], "timelinelabels": ["a"]}]},
        {"videoLabels": [{"ranges": [{"start": 1, "end": 2}], "timelinelabels": [None]}]},
    ],
)
def test_labels_of_another_shape_are_a_flag(tmp_path: Path, annotation: Any) -> None:
    found = _labelled(tmp_path, annotation)
    assert (found.steps, found.flags) == ((), ("annotation_unreadable",))


@pytest.mark.parametrize("name", ["camera.jpg", "", f"camera_{2**31}.jpg"])
def test_a_frame_without_a_usable_number_is_a_flag(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes").mkdir()
    step = {"step_description": "a", "start_frame": "c_0.jpg", "end_frame": name}
    record = [{"id": "e", "response": {"steps": [step]}}]
    (tmp_path / "notes" / "a.json").write_text(json.dumps(record))
    found = words(_NAMED, folder=tmp_path, path={"path": "e"})
    assert (found.steps, found.flags) == ((), ("annotation_unreadable",))


@pytest.mark.parametrize("toml", [_NAMED, _LABELLED])
@pytest.mark.parametrize(
    ("data", "flag"),
    [
        (None, "annotation_missing"),
        (b"", "annotation_unreadable"),
        (b"[]", "annotation_unreadable"),
        (b'[{"id": "e", "episode_index": 4', "annotation_unreadable"),
        (
            b'[{"id": "e", "episode_index": 4, "response": 1, "annotation": 1}]',
            "annotation_unreadable",
        ),
    ],
)
def test_a_damaged_file_of_steps_is_a_flag(
    tmp_path: Path, toml: str, data: bytes | None, flag: str
) -> None:
    (tmp_path / "notes").mkdir()
    if data is not None:
        (tmp_path / "notes" / "a.json").write_bytes(data)
        (tmp_path / "label.json").write_bytes(data)
    found = words(toml, {"episode": ["4"]}, folder=tmp_path, path={"path": "e"})
    assert (found.steps, found.flags) == ((), (flag,))


# Real annotations


@pytest.mark.parametrize(
    ("file", "episodes", "steps", "bad"),
    [
        ("h5_franka_1rgb", 161, 702, 3),
        ("h5_ur_1rgb", 2625, 7841, 14),
        ("h5_simulation_franka", 79, 325, 0),
    ],
)
def test_the_published_robomind_steps(
    real_data: Path, file: str, episodes: int, steps: int, bad: int
) -> None:
    folder = real_data / "robomind_v1_annotations"
    ids = [record["id"] for record in json.loads((folder / f"{file}.json").read_text())]
    toml = _NAMED.replace("notes/*.json", "h5_*.json")
    raw: Any = FakeEpisode({})
    spec = msgspec.toml.decode(toml, type=LanguageSpec)
    problems: Counter[str | None] = Counter()
    for path in ids:
        found = read_language(
            raw, spec, folder=open_folder(folder), file="x", path={"path": path}, frames=10**6
        )
        assert found.steps
        assert len(found.instructions) == 1
        problems.update(step.problem for step in found.steps)
        has_problem = {"step_problems"} if _wrong(found) else set[str]()
        assert set(found.flags) == has_problem
    assert (len(ids), problems.total()) == (episodes, steps)
    assert problems["overlap"] + problems["reversed"] == bad
    assert problems["gap"] > steps // 2
    assert problems["out_of_range"] == 0


def _wrong(found: EpisodeLanguage) -> bool:
    return any(step.problem in ("overlap", "reversed") for step in found.steps)


def test_a_published_robomind_instruction(real_data: Path) -> None:
    toml = CSV.replace("instructions.csv", "robomind_v1_annotations/RoboMIND_v1_2_instr.csv")
    found = words(toml, folder=real_data, path={"task": "12_packcup"})
    assert texts_of(found) == [
        "pick up cup 1,put cup 1 in the cup rack,pick up cup 2,put cup 2 in the cup rack"
    ]


def test_the_published_robocoin_labels(real_data: Path) -> None:
    folder = real_data / "robocoin_meta"
    toml = _LABELLED.replace("label.json", "label/data_annotation.json").replace(
        '["end"]', '["nothing"]'
    )
    annotated = 0
    for line in (folder / "meta" / "episodes.jsonl").read_text().splitlines():
        episode = json.loads(line)
        found = words(
            toml,
            {"episode": [str(episode["episode_index"])]},
            folder=folder,
            frames=episode["length"],
        )
        annotated += bool(found.steps)
        assert found.steps[0].start_frame == 0
        assert found.steps[-1].end_frame == episode["length"]
        assert found.steps[-1].text == "end"
    assert annotated == 498
