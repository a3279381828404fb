"""SQL reads the dataset's tables; no spelling of a query reads a file beside them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finedata.cli import main
from finedata.errors import UsageError
from finedata.store.dataset import open_dataset
from finedata.store.export.episodes import select_episodes
from finedata.store.index_map import episode_places
from finedata.store.tables.sealed_sql import seal_condition, seal_query

TABLES = ("episodes", "frames", "receipts", "facts")
SECRET = "canary"
# Every name under which this Polars, in Python or in SQL, reads or makes a table.
READERS = sorted(
    {name for name in dir(pl) if name.startswith(("read_", "scan_"))}
    | {"read_ndjson", "read_json", "read_csv", "read_parquet", "read_ipc"}
)
MAKERS = ["range", "generate_series", "values_of", "glob", "table", "lateral_of", "unknown"]
FRAMES = {
    name: pl.DataFrame(
        {"episode_id": ["x", "y"], "task": ["cup", "pan"], "length": [1, 30], "flags": [["u"], []]}
    ).lazy()
    for name in TABLES
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same secret in every format that Polars' SQL reads."""
    folder = tmp_path_factory.mktemp("secret")
    secret = pl.DataFrame({"episode_id": [SECRET]})
    secret.write_csv(folder / "a.csv")
    secret.write_parquet(folder / "a.parquet")
    secret.write_ipc(folder / "a.ipc")
    secret.write_ndjson(folder / "a.json")
    return {f"read_{file.suffix[1:]}": file for file in folder.iterdir()}


def refused(query: str) -> str:
    with pytest.raises(UsageError) as error:
        seal_query(query, tables=TABLES)
    return str(error.value)


def run(text: str) -> list[dict[str, object]]:
    found = pl.SQLContext(FRAMES).execute(text, eager=True)
    return found.to_dicts()


def run_unordered(text: str) -> list[str]:
    """Rows as a bag: without `order by`, a join or a union may have them in another order."""
    return sorted(map(repr, run(text)))


def test_polars_itself_reads_these_files(files: dict[str, Path]) -> None:
    """Else the tests below would prove nothing."""
    for reader, file in files.items():
        assert run(f"select * from {reader}('{file}')") == [{"episode_id": SECRET}]


SHAPES = {
    "plain": "select * from {}",
    "alias": "select r.* from {} as r",
    "alias without as": "select r.* from {} r",
    "join": "select * from episodes join {} as r on true",
    "left join": "select * from episodes e left join {} r on e.episode_id = r.episode_id",
    "cross join": "select * from episodes cross join {} as r",
    "comma": "select * from episodes, {} as r",
    "lateral": "select * from episodes, lateral {} as r",
    "nested join": "select * from (episodes join {} as r on true)",
    "brackets": "select * from ({})",
    "subquery in from": "select * from (select * from {}) as r",
    "subquery in where": "select * from episodes where episode_id in (select episode_id from {})",
    "exists": "select * from episodes where exists (select 1 from {} r)",
    "scalar": "select (select max(episode_id) from {}) as m from episodes",
    "case": "select case when true then (select max(episode_id) from {}) end from episodes",
    "having": "select task from episodes group by task having task in (select * from {})",
    "order": "select task from episodes order by (select max(episode_id) from {})",
    "cte": "with r as (select * from {}) select * from r",
    "cte in cte": "with r as (with s as (select * from {}) select * from s) select * from r",
    "unused cte": "with r as (select * from {}) select * from episodes",
    "union": "select episode_id from episodes union all select episode_id from {}",
    "union first": "select episode_id from {} union select episode_id from episodes",
    "except": "select episode_id from {} except select episode_id from episodes",
    "intersect": "select episode_id from episodes intersect select episode_id from {}",
    "from first": "from {}",
    "from first select": "from {} select episode_id",
    "bracketed query": "(select * from {})",
    "comment behind": "select * from {} -- episodes",
    "comment before": "/* select 1 */ select * from {}",
    "create": "create table r as select * from {}",
    "explain": "explain select * from {}",
    "insert": "insert into episodes select * from {}",
    "two statements": "select 1; select * from {}",
    "semi join": "select * from episodes semi join {} r using (episode_id)",
    "pivot": "select * from {} pivot (max(episode_id) for episode_id in ('x'))",
    "dml in cte": "with r as (insert into facts select * from {}) select * from episodes",
}
SPELLINGS = {
    "plain": "{name}('{file}')",
    "upper": "{upper}('{file}')",
    "quoted": "\"{name}\"('{file}')",
    "backticks": "`{name}`('{file}')",
    "space": "{name} \n ('{file}')",
    "comment inside": "{name}/**/('{file}')",
    "line comment inside": "{name}--\n('{file}')",
    "nested comment inside": "{name}/* /* */ */('{file}')",
    "jinja comment inside": "{name}{{# #}}('{file}')",
    "schema": "finedata.{name}('{file}')",
    "quoted schema": '"episodes"."{name}"(\'{file}\')',
    "table function": "table({name}('{file}'))",
    "with options": "{name}('{file}', true)",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_table_function_is_called(shape: str) -> None:
    for name in [*READERS, *MAKERS]:
        refused(SHAPES[shape].format(f"{name}('/any/file')"))
    for spelling in SPELLINGS.values():
        call = spelling.format(name="read_csv", upper="READ_CSV", file="/any/file")
        refused(SHAPES[shape].format(call))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name",
    [
        "other",
        "'/any/file.parquet'",
        '"/any/file.csv"',
        "`/any/file.csv`",
        "file.csv",
        "main.episodes",
        "$$episodes$$",
        "sqlite_master",
        "pg_read_file",
    ],
)
def test_no_other_table_is_named(shape: str, name: str) -> None:
    refused(SHAPES[shape].format(name))


def test_a_file_reader_is_called_nowhere() -> None:
    """Not even where no table stands: another parser may see one there."""
    for name in READERS:
        assert f"the table function {name}" in refused(f"select {name} ('/x') from episodes")
    assert seal_query("select read_csv from (select 1 as read_csv)", tables=TABLES)


def test_a_refusal_says_which_and_what_there_is() -> None:
    assert "found the table function read_csv, wanted" in refused("select * from READ_CSV('/x')")
    assert "found the table function generate_series" in refused(
        "select * from generate_series(1, 2)"
    )
    assert "found the table 'other', wanted one of episodes, frames" in refused(
        "select * from other"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "show tables",
        "explain select * from episodes",
        "drop table episodes",
        "truncate table episodes",
        "delete from episodes",
        "create table r as select * from episodes",
        "insert into episodes values (1)",
        "update episodes set task = 'x'",
        "copy episodes to '/any/file'",
        "copy (select * from episodes) to '/any/file'",
        "select * into r from episodes",
        "with r as (select 1) delete from episodes",
        "attach '/any/file' as x",
        "install httpfs",
        "set x = 1",
        "describe episodes",
        "summarize episodes",
        "select * from episodes; select * from facts",
        "select * from",
        "selct",
        "",
        " ; ",
        "-- nothing",
        "(" * 3000 + "select 1" + ")" * 3000,
    ],
)
def test_only_one_select_is_run(
    statement: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    refused(statement)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("SELECT * FROM Episodes e;", ("episodes",)),
        ('select * from "episodes" as "e \'f"', ("episodes",)),
        ("select 'it''s -- /* no comment */ read_csv' as a", ()),
        ("select task /* facts */ from episodes -- from frames", ("episodes",)),
        ("select * exclude (task) from episodes limit 1 offset 1", ("episodes",)),
        ("select task, count(*) n from episodes group by all order by all", ("episodes",)),
        ("select f from (select unnest(flags) as f from receipts) group by f", ("receipts",)),
        ("with a as (select * from facts), b as (select * from a) select * from b", ("facts",)),
        ("select e.length from episodes e join facts f using (episode_id)", ("episodes", "facts")),
        ("select task from episodes union all select task from frames", ("episodes", "frames")),
        ("select length :: float, length // 2, flags[1] from episodes", ("episodes",)),
        ("select task from episodes where length > .5 and task !~ 'c'", ("episodes",)),
        ("from episodes select task", ("episodes",)),
        ("select * from (values (1), (2)) as v(x)", ()),
        ("select * from episodes qualify row_number() over (order by length) = 1", ("episodes",)),
        ("select task from episodes where length between 1 and 3e0", ("episodes",)),
        ("select (select max(length) from facts) as m from episodes", ("episodes", "facts")),
    ],
)
def test_what_is_sealed_means_the_same(query: str, tables: tuple[str, ...]) -> None:
    sealed = seal_query(query, tables=TABLES)
    assert sealed.tables == tables
    rows = run if query.endswith("order by all") else run_unordered
    assert rows(sealed.text) == rows(query)


@pytest.mark.parametrize(("direction", "tasks"), [("", ["cup", "pan"]), ("desc", ["pan", "cup"])])
def test_what_is_sealed_keeps_its_order(direction: str, tasks: list[str]) -> None:
    sealed = seal_query(f"select task from episodes order by length {direction}", tables=TABLES)
    assert [row["task"] for row in run(sealed.text)] == tasks


def test_every_query_of_the_documents_is_accepted() -> None:
    root = Path(__file__).parents[2]
    pages = [root / "README.md", *(root / "docs").glob("*.md"), root / "finedata/cli/query.py"]
    queries = [
        found
        for page in pages
        for found in re.findall(r'(?:finedata query \w+|\.sql\()\s*"([^"]+)"', page.read_text())
        if found != "SQL"
    ]
    assert len(queries) >= 6
    for query in queries:
        assert seal_query(query, tables=open_tables()).tables


def open_tables() -> tuple[str, ...]:
    import finedata.store.dataset as module

    return module._TABLES


PIECES = st.sampled_from(
    [
        *["select", "*", "episode_id", "from", "read_csv", "(", ")", "('{file}')", "'{file}'"],
        *["episodes", "with r as", "union all", "join", "on true", "as", "r", "where", ",", ";"],
        *["--", "\n", "/*", "*/", "/*+", "{{#", "#}}", "#", "//", "\\", "'", "''", '"', "`"],
        *["e'", "E'\\'", "r'", "n'", "x'", "b'", "u&'", "$$", "$a$", "@", "?", ":", "::", "."],
        *["\t", "\u00a0", "\u2019", "\0", "1", ".5", "lateral", "unnest", "table", "true"],
    ]
)
QUERIES = st.lists(PIECES, min_size=1, max_size=14)
GAPS = st.sampled_from(["", " "])


@settings(max_examples=300)
@given(pieces=QUERIES, gap=GAPS, tail=st.booleans())
@example(["select", "E'\\''", ",", "* ", "from", " read_csv", "('{file}')", "--'"], "", False)
@example(["select E'\\'' , episode_id from read_csv(''{file}'') --'"], "", False)
@example(["select '\\' , episode_id from read_csv('{file}') --'"], "", False)
@example(["select 1 {{# '#}}, * from read_csv('{file}') --'"], "", False)
@example(["select $$'$$, * from read_csv('{file}') --'"], "", False)
@example(["select 1 /* /* */ , * from read_csv('{file}') -- */ */"], "", False)
def test_no_spelling_reads_a_file(
    files: dict[str, Path], pieces: list[str], gap: str, tail: bool
) -> None:
    call = "select * from read_csv('{file}')"
    query = gap.join([*pieces, call] if tail else pieces).format(file=files["read_csv"])
    try:
        sealed = seal_query(query, tables=TABLES)
    except UsageError:
        return
    try:
        rows = run(sealed.text)
    except Exception:
        return
    assert SECRET not in {row.get("episode_id") for row in rows}


def condition(text: str) -> str:
    return seal_condition(text, over="episodes", column="episode_id", tables=TABLES).text


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("length > 20", ["y"]),
        ("length > 20 -- long", ["y"]),
        ("task = 'cup' or task = 'pan' and length < 2", ["x"]),
        ("episode_id in (select episode_id from facts where task like 'p%')", ["y"]),
        ("not (length > 20);", ["x"]),
        ("true", ["x", "y"]),
    ],
)
def test_a_condition_chooses(text: str, ids: list[str]) -> None:
    assert [row["episode_id"] for row in run(condition(text))] == ids


@pytest.mark.parametrize(
    "text",
    [
        "true limit 1",
        "true order by length",
        "true group by task",
        "true union select episode_id from facts",
        "true) union all (select episode_id from facts",
        "1 = 1) or (1 = 1",
        "true -- )\n) union all select * from facts",
        "select true",
        "(select true)",
        "length as x",
        "true, true",
        "true; drop table episodes",
        "drop table episodes",
        "show tables",
        "",
        "episode_id in (select episode_id from read_csv('/any/file'))",
        "episode_id in (select episode_id from \"Read_Csv\" /**/ ('/any/file'))",
        "exists (select 1 from other)",
    ],
)
def test_a_condition_is_one_expression(text: str) -> None:
    with pytest.raises(UsageError):
        condition(text)


def test_nothing_is_opened_before(
    converted: Path,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the library and for every verb that takes a condition; the command line exits with 2."""
    dataset = open_dataset(converted)
    file = files["read_csv"]

    def opened(*_: object) -> None:
        pytest.fail("a table was opened")

    monkeypatch.setattr(type(dataset), "table", opened)
    query = f"select * from read_csv('{file}')"
    smuggled = f"episode_id in (select episode_id from read_csv('{file}'))"
    for call in (
        lambda: dataset.sql(query),
        lambda: select_episodes(dataset, where=smuggled),
        lambda: episode_places(dataset, where=smuggled),
    ):
        with pytest.raises(UsageError, match="the table function read_csv"):
            call()
    out = file.parent / "out"
    for words in (
        ["query", str(converted), query],
        ["episodes", str(converted), "--where", smuggled],
        ["export", str(converted), "--out", str(out), "--where", smuggled],
        ["annotate", "kinematic", str(converted), "--where", smuggled],
    ):
        monkeypatch.setattr(sys, "argv", ["finedata", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2, words
        said = capsys.readouterr()
        assert said.out == ""
        assert "the table function read_csv" in said.err
    assert not out.exists()


def test_the_parser_is_loaded_by_the_first_query() -> None:
    code = "import sys, finedata, finedata.store.dataset; sys.exit('sqlglot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
