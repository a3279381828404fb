"""Released files in the forms that they are known to have, and in those they must not have."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finedata.annotate.export.lerobot_language import EVENT_ROW, PERSISTENT_ROW
from finedata.annotate.importing.released import (
    read_fine_grained,
    read_human_review,
    read_language,
    read_reasoning,
)
from finedata.errors import ConformError, FinedataError, UsageError


def written(path: Path, content: object, *, lines: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if lines:
        assert isinstance(content, list)
        path.write_text("".join(json.dumps(one) + "\n" for one in content))
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_fine_grained_as_its_loader_takes_it(tmp_path) -> None:
    path = tmp_path / "FineGrainedInstruction.jsonl"
    path.write_text(
        '\ufeff{"episode_id": 3, "FineGrainedInstruction": ["Reach.", " ", "Grasp  it."]}\n\n'
        '{"episode_id": "12", "FineGrainedInstruction": "Push."}\n'
        '{"episode_id": 3, "FineGrainedInstruction": ["Reach.", "Grasp it."]}\n'
    )
    found = read_fine_grained(path)
    assert [(one.episode, one.steps) for one in found] == [
        (3, ["Reach.", "Grasp it."]),
        (12, ["Push."]),
    ]


@pytest.mark.parametrize("key", ["Human_Review", "human_reveiw", "human_review"])
@pytest.mark.parametrize("lines", [False, True])
def test_human_review_in_both_spellings(tmp_path, key: str, *, lines: bool) -> None:
    meta = {"instruction_raw": ["a", "b"], "robot_type": "franka"}
    record = {"sample_id": "bc_z-BC_Z-18255", key: {"Step2": "b", "Step1": "a"}, "meta": meta}
    [one] = read_human_review(written(tmp_path / "r.json", [record], lines=lines))
    assert (one.sample_id, one.steps, one.robot) == ("bc_z-BC_Z-18255", ["a", "b"], "franka")
    assert one.instruction == "a; b"
    assert one.given == record


def test_reasoning_with_gaps_and_other_numbers(tmp_path) -> None:
    written(tmp_path / "reasoning" / "0_7.json", [{"0": "t"}, {"1": ""}, {"2": None}])
    written(tmp_path / "reasoning" / "1_0.json", {"0": "t"})
    first, second = read_reasoning(tmp_path)
    assert (first.file, first.record, first.traces) == (0, 7, {0: "t", 1: "", 2: ""})
    assert (second.file, second.record) == (1, 0)


def language_file(root: Path, rows: list[dict], *, episode: int = 0) -> Path:
    table = pa.table(
        {
            "episode_index": [episode] * len(rows),
            "frame_index": list(range(len(rows))),
            "timestamp": pa.array([k / 10 for k in range(len(rows))], pa.float32()),
            "language_persistent": pa.array(
                [row.get("persistent", []) for row in rows], pa.list_(PERSISTENT_ROW)
            ),
            "language_events": pa.array(
                [row.get("events", []) for row in rows], pa.list_(EVENT_ROW)
            ),
        }
    )
    path = root / "data" / "chunk-000" / f"file-{episode:03d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def said(style: str, content: str, time_s: float | None = None, role: str = "assistant") -> dict:
    row = {"role": role, "content": content, "style": style, "camera": None, "tool_calls": None}
    return row if time_s is None else row | {"timestamp": time_s}


def test_language_rows_once_each(tmp_path) -> None:
    rows = [said("subtask", "b", 0.2), said("subtask", "a", 0.0)]
    language_file(tmp_path, [{"persistent": rows} for _ in range(4)])
    [one] = read_language(tmp_path)
    assert [row["content"] for row in one.persistent] == ["a", "b"]
    assert len(one.times_s) == 4


def bad_fine_grained() -> dict[str, object]:
    return {
        "cut": '{"episode_id": 3, "FineGrainedInstruction": ["Rea',
        "no number": {"FineGrainedInstruction": ["a"]},
        "a negative number": {"episode_id": -1, "FineGrainedInstruction": ["a"]},
        "true": {"episode_id": True, "FineGrainedInstruction": ["a"]},
        "a fraction": {"episode_id": 1.5, "FineGrainedInstruction": ["a"]},
        "no steps": {"episode_id": 1},
        "steps without words": {"episode_id": 1, "FineGrainedInstruction": [" "]},
        "numbers as steps": {"episode_id": 1, "FineGrainedInstruction": [1]},
        "a list": "[1, 2]",
        "a text": '"x"',
        "nested without end": "[" * 5_000,
    }


@pytest.mark.parametrize("name", list(bad_fine_grained()))
def test_what_is_no_fine_grained_line(tmp_path, name: str) -> None:
    path = written(tmp_path / "f.jsonl", bad_fine_grained()[name])
    with pytest.raises(ConformError) as caught:
        read_fine_grained(path)
    assert str(path) in str(caught.value)


def test_an_episode_twice_with_other_words(tmp_path) -> None:
    line = {"episode_id": 1, "FineGrainedInstruction": ["a"]}
    path = written(
        tmp_path / "f.jsonl", [line, line | {"FineGrainedInstruction": ["b"]}], lines=True
    )
    with pytest.raises(ConformError, match="line 2"):
        read_fine_grained(path)


def test_what_is_no_review(tmp_path) -> None:
    good = {"sample_id": "a", "Human_Review": ["x"]}
    for bad in ([good, good], [{"sample_id": "", "Human_Review": ["x"]}], [{"sample_id": "a"}]):
        with pytest.raises(ConformError):
            read_human_review(written(tmp_path / "r.json", bad))


def test_what_is_no_reasoning(tmp_path) -> None:
    with pytest.raises(UsageError):
        list(read_reasoning(tmp_path))
    for bad in ([{}], [[1]], [{"x": "t"}], [{"0": 1}], [{"0": "a"}, {"0": "b"}], "[{"):
        with pytest.raises(FinedataError):
            list(read_reasoning(written(tmp_path / "0_0.json", bad).parent))


def test_no_language_columns(tmp_path) -> None:
    path = tmp_path / "data" / "chunk-000" / "file-000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"episode_index": [0]}), path)
    with pytest.raises(UsageError, match="none with language_persistent"):
        list(read_language(tmp_path))
    path.write_bytes(b"PAR1 no")
    with pytest.raises(ConformError, match="file-000"):
        list(read_language(tmp_path))


@pytest.mark.parametrize("content", ["", "\n", "[]"])
def test_a_review_without_a_record_is_no_review(content: str, tmp_path: Path) -> None:
    path = tmp_path / "review.json"
    path.write_text(content)
    with pytest.raises(ConformError, match="no record"):
        read_human_review(path)


_READ = {
    "finevla": ("FineGrainedInstruction.jsonl", read_fine_grained),
    "human-review": ("review.json", read_human_review),
    "refinevla": ("reasoning/0_0.json", lambda path: list(read_reasoning(path.parent.parent))),
    "lerobot-language": (
        "data/chunk-000/file-000.parquet",
        lambda path: list(read_language(path.parents[2])),
    ),
}


@pytest.mark.parametrize("format", list(_READ))
def test_a_cut_file_says_what_to_do_next(tmp_path, format: str) -> None:
    name, read = _READ[format]
    path = tmp_path / name
    if format == "lerobot-language":
        language_file(tmp_path, [said("plan", "reach", 0.0)])
    else:
        written(
            path,
            {
                "finevla": '{"episode_id": 3, "FineGrainedInstruction": ["Reach.", "Grasp."]}\n',
                "human-review": [{"sample_id": "a", "Human_Review": ["x"]}] * 2,
                "refinevla": [{"0": "t"}, {"1": "u"}],
            }[format],
        )
    content = path.read_bytes()
    if format != "human-review":  # the same sample twice, which would be refused
        read(path)
    for end in (1, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:end])
        with pytest.raises(ConformError) as caught:
            read(path)
        assert path.name in caught.value.place
        assert f"fetch {path.name} again ({end:,} bytes are here)" in str(caught.value)
