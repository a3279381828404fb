"""`finedata query`: SQL over a dataset's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finedata.cli.frame import tell_traffic

HELP = """Query a dataset's tables with SQL (Polars' dialect).

Tables: episodes, frames, images, receipts, gate, clusters, representatives, steps, facts,
traces, instructions. Pictures are in `images` only, and print as size and sha256. One SELECT is
run, over these tables: table functions such as read_csv, and other statements, are refused.
Without `order by`, rows come in no promised order: a join may turn two about from run to run.

An address works as a folder does: hf://datasets/org/name, or @revision behind it.

Example: finedata query bridge "select task, count(*) as n from episodes group by task" --json
"""


def query(
    *,
    root: Annotated[
        str, typer.Argument(metavar="DIR", help="The dataset, or its address.", show_default=False)
    ],
    sql: Annotated[str, typer.Argument(metavar="SQL", help="The query.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of row objects.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a header.")] = False,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rows to a Parquet file.")
    ] = None,
) -> None:
    """See HELP."""
    from finedata.api import open, rows_text, write_rows
    from finedata.errors import UsageError

    if as_json + as_csv + (parquet is not None) > 1:
        raise UsageError(
            place="finedata query",
            found="several of --json, --csv, --parquet",
            wanted="one of them",
        )
    dataset = open(root)
    rows = dataset.sql(sql)
    tell_traffic(dataset.root)
    if parquet is not None:
        write_rows(rows, parquet)
        typer.echo(f"{rows.height} rows in {parquet}", err=True)
    else:
        typer.echo(rows_text(rows, "json" if as_json else "csv" if as_csv else ""), nl=not as_csv)
