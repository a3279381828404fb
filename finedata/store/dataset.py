"""A dataset as one noun: `finedata.open(root)`.

Each published table is a lazy Polars frame, single episodes are NumPy arrays and encoded
pictures, and nothing is read before it is needed. Pictures are in no table but `images`, so that a
query over millions of frames never touches them by accident.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import ConformError, UsageError
from finedata.schema.conform import read_schema_tag
from finedata.schema.tables.all import arrow_schema
from finedata.store.damaged import damaged_file
from finedata.store.dataset_file import DatasetFile, PartEntry, read_dataset_file
from finedata.store.episode import Episode
from finedata.store.lerobot.layout import picture_column, read_features
from finedata.store.remote.path import open_root, readable
from finedata.store.remote.scan import scan_tables
from finedata.store.review_journal import read_journal
from finedata.store.tables.annotation_files import count_values, never_revised
from finedata.store.tables.row_groups import DataFileCache
from finedata.store.tables.sealed_sql import SealedQuery, seal_condition, seal_query
from finedata.store.tables.step_order import with_current_steps
from finedata.store.tables.table import CURATION, REVISED, annotation_files
from finedata.store.videos.opened import OpenVideos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from finedata.store.lerobot.layout import Feature

__all__ = ["ANNOTATIONS", "Dataset", "open_dataset"]

ANNOTATIONS = ("steps", "facts", "traces", "instructions", "reviews", "calls")
"""The tables in `annotations/`."""
_OF_PARTS = ("episodes", "frames")
_TABLES = ("episodes", "frames", "images", *CURATION, *ANNOTATIONS)
_PICTURES = picture_column("")


@dataclass(frozen=True)
class Dataset:
    """A finedata dataset on disk; tables are lazy Polars frames.

    Example:
        >>> ds = finedata.open("bridge")  # doctest: +SKIP
        >>> ds.episodes.filter(pl.col("task").str.contains("cup")).collect()  # doctest: +SKIP
    """

    root: Path
    info: DatasetFile

    @property
    def parts(self) -> list[PartEntry]:
        """The LeRobot datasets inside this one."""
        return self.info.parts

    @cached_property
    def episodes(self) -> pl.LazyFrame:
        """One row an episode; see schemas/v1/episodes.json."""
        return self._over_parts("meta/episodes/*/*.parquet", "episodes")

    @cached_property
    def frames(self) -> pl.LazyFrame:
        """One row a frame, without pictures, with `episode_id`; see schemas/v1/frames.json."""
        frames: list[pl.LazyFrame] = []
        for part in self.parts:
            scanned = self._scan(part, "data/*/*.parquet", "frames")
            pictures = [
                name for name in scanned.collect_schema().names() if name.startswith(_PICTURES)
            ]
            ids = self._scan(part, "meta/episodes/*/*.parquet", "episodes").select(
                "episode_index", "episode_id"
            )
            joined = scanned.drop(pictures).join(
                ids, on="episode_index", how="left", maintain_order="left"
            )
            frames.append(joined.select("episode_id", pl.exclude("episode_id")))
        return _stacked(frames, "frames")

    @cached_property
    def images(self) -> pl.LazyFrame:
        """One row a picture: episode_id, frame_index, camera, bytes, path."""
        pictures: list[pl.LazyFrame] = []
        for part in self.parts:
            scanned = self._scan(part, "data/*/*.parquet", "frames")
            ids = self._scan(part, "meta/episodes/*/*.parquet", "episodes").select(
                "episode_index", "episode_id"
            )
            for name in scanned.collect_schema().names():
                if name.startswith(_PICTURES):
                    view = scanned.select(
                        "episode_index",
                        "frame_index",
                        pl.lit(name.removeprefix(_PICTURES)).alias("camera"),
                        pl.col(name).struct.field("bytes"),
                        pl.col(name).struct.field("path"),
                    )
                    joined = view.join(ids, on="episode_index", how="left", maintain_order="left")
                    pictures.append(
                        joined.select("episode_id", "frame_index", "camera", "bytes", "path")
                    )
        return _stacked(pictures, "images")

    @property
    def receipts(self) -> pl.LazyFrame:
        """One row for every episode found, written or failed; see schemas/v1/receipts.json."""
        return self.table("receipts")

    @property
    def verdicts(self) -> pl.LazyFrame:
        """Verdicts of the quality gate; empty until `finedata gate` ran."""
        return self.table("gate")

    @property
    def clusters(self) -> pl.LazyFrame:
        """Clusters of episodes; empty until `finedata cluster` ran."""
        return self.table("clusters")

    @property
    def representatives(self) -> pl.LazyFrame:
        """The chosen episodes; empty until `finedata cluster` ran."""
        return self.table("representatives")

    @property
    def steps(self) -> pl.LazyFrame:
        """Annotated steps."""
        return self.table("steps")

    @property
    def facts(self) -> pl.LazyFrame:
        """Fine-grained facts in ten dimensions."""
        return self.table("facts")

    @property
    def traces(self) -> pl.LazyFrame:
        """Reasoning traces."""
        return self.table("traces")

    @property
    def instructions(self) -> pl.LazyFrame:
        """Goals, alternatives and fine-grained instructions."""
        return self.table("instructions")

    def table(self, name: str) -> pl.LazyFrame:
        """A table by its published name; empty with the right columns where none was written.

        Of annotations that were written again, only the newest revision of each id is there;
        `history` has them all. Facts have the `step_index` that their steps have now.

        Raises:
            UsageError: There is no such table.
            ConformError: A file carries another schema, or one of a newer finedata.
        """
        if name in ("episodes", "frames", "images"):
            return getattr(self, name)
        # Before the files are looked for: a decision that moves there meanwhile is in both.
        waiting = self._waiting_reviews() if name == "reviews" else None
        if name in CURATION:
            files = sorted(self.root.glob(f"curation/{name}.parquet"))
        elif name in ANNOTATIONS:
            files = annotation_files(self.root, name)
        else:
            wanted = f"one of {', '.join(_TABLES)}"
            raise UsageError(place="table", found=f"{name!r}", wanted=wanted)
        for file in files:
            _check_tag(file, name)
        rows = scan_tables(files) if files else _empty(name)
        if waiting is not None:
            waiting = waiting.join(rows.select("review_id"), on="review_id", how="anti")
            return pl.concat([rows, waiting])
        if files and name in REVISED and not never_revised(files):
            newest = pl.col("revision").max().over(REVISED[name])
            rows = rows.filter(pl.col("revision") == newest)
        if name == "facts" and not never_revised(annotation_files(self.root, "steps")):
            rows = with_current_steps(rows, self.steps)
        return rows

    def _waiting_reviews(self) -> pl.LazyFrame | None:
        """Decisions that are in the journal; None where there are none."""
        waiting = pl.from_arrow(read_journal(self.root))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
        return waiting.lazy() if isinstance(waiting, pl.DataFrame) and waiting.height else None

    def count(self, name: str, *, by: str) -> dict[str | None, int]:
        """How many rows of an annotation table have each value of a text column, by value.

        The same as `table(name).group_by(by).len()`, and several times faster on millions of rows.

        Raises:
            UsageError: There is no such table of annotations, or no such text column.

        Example:
            >>> finedata.open("bridge").count("facts", by="dimension")  # doctest: +SKIP
        """
        text = name in REVISED and by in _text_columns(name)
        if not text:
            raise UsageError(
                place="count",
                found=f"column {by!r} of table {name!r}",
                wanted=f"a text column of {', '.join(REVISED)}",
            )
        files = annotation_files(self.root, name)
        for file in files:
            _check_tag(file, name)
        if never_revised(files) and by not in ("step_id", "next_step_id"):
            counts: dict[str | None, int] = dict(count_values(files, by))
        else:
            counts = dict(self.table(name).group_by(by).agg(pl.len()).collect().iter_rows())
        return dict(sorted(counts.items(), key=lambda item: (item[0] is None, item[0] or "")))

    def history(self, name: str) -> pl.LazyFrame:
        """A table of annotations with every revision of every row, in no order.

        Raises:
            UsageError: Rows of that table are never written again.
        """
        if name not in REVISED:
            raise UsageError(
                place="table", found=f"{name!r}", wanted=f"one of {', '.join(REVISED)}"
            )
        files = annotation_files(self.root, name)
        for file in files:
            _check_tag(file, name)
        return scan_tables(files) if files else _empty(name)

    def sql(self, query: str) -> pl.DataFrame:
        """Run a SELECT in Polars' SQL over the tables, by their published names.

        The query is parsed first: it can read these tables, and no file beside them. Without
        `order by`, rows come in no promised order.

        Raises:
            UsageError: The query is wrong, is no SELECT, calls a table function such as
                `read_csv`, or names a table or column that is not there. Nothing was read.
        """
        return self._run(seal_query(query, tables=_TABLES, next_command=self._tables_command))

    def episode_ids_where(self, condition: str) -> list[str]:
        """Ids of the episodes for which a SQL condition over `episodes` holds, as the query has it.

        Args:
            condition: A boolean expression. It may name other tables in a subquery:
                `episode_id in (select episode_id from representatives)`.

        Raises:
            UsageError: It is no expression, or is refused as `sql` refuses a query.
        """
        names = {"over": "episodes", "column": "episode_id", "next_command": self._tables_command}
        query = seal_condition(condition, tables=_TABLES, **names)
        return self._run(query)["episode_id"].to_list()

    @property
    def _tables_command(self) -> str:
        return f"finedata info {self.root}  # tables and columns"

    def _run(self, query: SealedQuery) -> pl.DataFrame:
        # Only tables that the query names are opened: opening reads footers.
        context = pl.SQLContext({name: self.table(name) for name in query.tables})
        try:
            return context.execute(query.text, eager=True)
        except (pl.exceptions.PolarsError, pl.exceptions.SQLInterfaceError) as error:
            raise UsageError(
                place="the query",
                found=f"{str(error).splitlines()[0]}",
                wanted=f"SQL over {', '.join(_TABLES)}",
                next_command=self._tables_command,
            ) from error

    def episode(self, episode_id: str, *, pictures: bool = False) -> Episode:
        """One episode, by its id; what it holds is read when it is asked for.

        Args:
            episode_id: Its id.
            pictures: Read all its numbers and stored pictures now, in one pass over its rows;
                else nothing but its row of `episodes` is read.

        Raises:
            UsageError: There is no such episode.
            ConformError: A file of the dataset is damaged.
        """
        rows = self.episodes.filter(pl.col("episode_id") == episode_id)
        found = next(self._episodes(rows), None)
        if found is None:
            raise UsageError(
                place="episode_id",
                found=f"{episode_id!r}",
                wanted="an episode of this dataset",
                next_command=f'finedata query {self.root} "select episode_id from episodes"',
            )
        if pictures:
            _ = found.pictures
        return found

    def iter_episodes(self, *, where: str = "") -> Iterator[Episode]:
        """Episodes one after the other, in the dataset's order: that in which they lie on disk.

        Going through them with `Episode.slabs` reads every row group once, and holds one slab in
        memory; a video file stays open from one episode to the next.

        Args:
            where: SQL condition over `episodes`, as in `episode_ids_where`; empty means all.

        Raises:
            UsageError: The condition is wrong.

        Example:
            >>> for episode in ds.iter_episodes(where="length > 50"):  # doctest: +SKIP
            ...     for slab in episode.slabs(columns=["action"], cameras=["image_0"]):
            ...         slab.frames, slab.columns["action"], slab.pictures["image_0"]
        """
        rows = self.episodes
        if where.strip():
            rows = rows.filter(pl.col("episode_id").is_in(self.episode_ids_where(where)))
        return self._episodes(rows)

    def _episodes(self, rows: pl.LazyFrame) -> Iterator[Episode]:
        names = [name for name in rows.collect_schema().names() if not name.startswith("stats/")]
        for row in rows.select(names).collect().iter_rows(named=True):
            yield Episode(self, row)

    def features(self, part: str) -> dict[str, Feature]:
        """The stored features of a part: dtype, shape and names, from its info.json."""
        if part not in self._features:
            self._features[part] = read_features(self.part_folder(part))
        return self._features[part]

    def part_frames(self, part: str) -> pl.LazyFrame:
        """The stored rows of one part, pictures included; nothing is joined."""
        return self._scan(self._part(part), "data/*/*.parquet", "frames")

    def part_folder(self, part: str) -> Path:
        """The folder of a part, by its name."""
        return self.root / self._part(part).path

    @cached_property
    def data_files(self) -> DataFileCache:
        """Data files by their paths, footers kept; for `Episode`."""
        return DataFileCache()

    @cached_property
    def videos(self) -> OpenVideos:
        """Videos by their paths, kept open; for `Episode`."""
        return OpenVideos()

    @cached_property
    def _features(self) -> dict[str, dict[str, Feature]]:
        return {}

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process boundary without open files."""
        return type(self), (self.root, self.info)

    def _part(self, name: str) -> PartEntry:
        return next(part for part in self.parts if part.name == name)

    def _over_parts(self, pattern: str, table: str) -> pl.LazyFrame:
        return _stacked([self._scan(part, pattern, table) for part in self.parts], table)

    def _scan(self, part: PartEntry, pattern: str, table: str) -> pl.LazyFrame:
        files = sorted((self.root / part.path).glob(pattern))
        if not files:
            if part.episodes:
                raise damaged_file(
                    self.root / part.path / pattern,
                    found="no such file",
                    wanted=f"the table {table} of {part.episodes} episodes",
                )
            return _empty(table)
        _check_tag(files[0], table)
        return scan_tables(files)


def open_dataset(root: str | Path) -> Dataset:
    """Open a finedata dataset.

    Args:
        root: Its folder, or an address (`hf://datasets/org/name@revision`, `s3://bucket/folder`),
            which is pinned to the commit that the revision names now.

    Raises:
        UsageError: There is none, or it is not finished.
        ConformError: It was written by a newer finedata.
        SourceError: The network or the server failed.

    Example:
        >>> import finedata
        >>> ds = finedata.open("bridge")  # doctest: +SKIP
        >>> ds.sql("select task, count(*) as n from episodes group by task")  # doctest: +SKIP
    """
    path = open_root(root)
    return Dataset(path, read_dataset_file(path))


def _stacked(frames: list[pl.LazyFrame], table: str) -> pl.LazyFrame:
    if not frames:
        return _empty(table)
    if len(frames) == 1:
        return frames[0]
    return pl.concat(_of_one_width(frames), how="diagonal_relaxed")


def _of_one_width(frames: list[pl.LazyFrame]) -> list[pl.LazyFrame]:
    """Vectors whose width differs between parts become lists: a column has one type."""
    schemas = [frame.collect_schema() for frame in frames]
    kinds: dict[str, set[pl.DataType]] = {}
    for schema in schemas:
        for name, kind in schema.items():
            kinds.setdefault(name, set()).add(kind)
    listed: list[pl.LazyFrame] = []
    for frame, schema in zip(frames, schemas, strict=True):
        vectors = [
            pl.col(name).arr.to_list()
            for name, kind in schema.items()
            if isinstance(kind, pl.Array) and len(kinds[name]) > 1
        ]
        listed.append(frame.with_columns(vectors) if vectors else frame)
    return listed


def _empty(table: str) -> pl.LazyFrame:
    frame = pl.from_arrow(arrow_schema(table).empty_table())  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    return frame.lazy() if isinstance(frame, pl.DataFrame) else frame.to_frame().lazy()


def _check_tag(file: Path, table: str) -> None:
    try:
        schema = pq.read_schema(readable(file))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise damaged_file(file, found=error, wanted=f"a Parquet file of table {table}") from error
    name, _ = read_schema_tag(schema.metadata, place=str(file))
    if name != table:
        raise ConformError(place=str(file), found=f"table {name!r}", wanted=f"table {table!r}")
    published: Any = arrow_schema(table)
    # a part's own tables leave out what its source does not have
    wanted = {field.name for field in published if table not in _OF_PARTS or not field.nullable}
    if lost := sorted(wanted - set(schema.names)):
        raise damaged_file(
            file, found=f"no column {lost[0]!r}", wanted=f"the columns of schemas/v1/{table}.json"
        )


def _text_columns(table: str) -> list[str]:
    schema: Any = arrow_schema(table)
    return [field.name for field in schema if field.type == pa.string()]
