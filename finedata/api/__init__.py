"""The face: the nouns of finedata, with every verb as a method of its noun.

    source(...)  -> Source    .estimate() .verify() .convert() .convert_share()
    open(...)    -> Dataset   its tables, its episodes, and .verify() .gate() .cluster() ...
    recipe(...)  -> Recipe    .train() on shards
    policy(...)  -> Policy    .predict() .serve(); connect(...) asks one that is served
    attention(...)            a page of what one looks at
    teacher(...) -> Teacher   whom .annotate_facts() and .annotate_traces() ask
    shards(...)  -> Shards    .stream() .verify() .take_up_text() .compact() .leaks() .compare()
    benchmark(...) -> Benchmark  .vqa() .caption() .profile(); bench_report(), bench_score() ...
    merge(...)                several datasets to one
    publish(...), card(...)   datasets and shards as a repository of the Hub, and its card
    pull(...)                 what was published, or a selection of it, brought here
    sim_record(...), ...      simulated demonstrations, and policies judged by the physics
    sources(), ...            the converter files there are, copies and drafts of them
    status(...), doctor()     what was done in a folder; what works on this machine

The command line and the demo call this and nothing below it. One dialect:

* all arguments but the first are by name; `where=` is SQL over `episodes`, `seed=` decides every
  draw, `dry_run=True` writes nothing and says what would be done;
* `workers=` is processes (`convert`, `shard`), threads (`gate`, `cluster`) or calls in flight
  (`annotate_...`) and changes no byte. More than one process needs the usual
  `if __name__ == "__main__":` in a script;
* `on_progress=` is called with a `Progress`;
* what a verb returns is frozen, prints as a table, and shows itself in a notebook;
* errors are `FinedataError`s: place, found, wanted, next command, and the parameter's name.

Rooms are imported inside the methods, so that opening a dataset loads no more than reading needs.
"""

from __future__ import annotations

from finedata.api.attention import attention
from finedata.api.bench import (
    Benchmark,
    bench_agree,
    bench_markdown,
    bench_report,
    bench_score,
    benchmark,
)
from finedata.api.converters import copy_converter, draft_converter, sources
from finedata.api.dataset import Dataset
from finedata.api.doctor import doctor
from finedata.api.hub import card, publish, pull
from finedata.api.opening import finish_shares, located, merge, open
from finedata.api.policy import Policy, policy
from finedata.api.recipe import Recipe, recipe
from finedata.api.rows import rows_text, write_rows
from finedata.api.shards import (
    Shards,
    explain,
    finish_shard_shares,
    has_shard_shares,
    is_shards,
    measure,
    receipt_text,
    shards,
    write_receipt,
)
from finedata.api.sim import (
    sim_compare,
    sim_estimate,
    sim_evaluate,
    sim_film,
    sim_rates,
    sim_record,
    sim_report,
    sim_result,
)
from finedata.api.source import Source, source
from finedata.api.status import status
from finedata.api.teacher import Teacher, teacher

__all__ = [
    "Benchmark",
    "Dataset",
    "Policy",
    "Recipe",
    "Shards",
    "Source",
    "Teacher",
    "attention",
    "bench_agree",
    "bench_markdown",
    "bench_report",
    "bench_score",
    "benchmark",
    "card",
    "copy_converter",
    "doctor",
    "draft_converter",
    "explain",
    "finish_shard_shares",
    "finish_shares",
    "has_shard_shares",
    "is_shards",
    "located",
    "measure",
    "merge",
    "open",
    "policy",
    "publish",
    "pull",
    "receipt_text",
    "recipe",
    "rows_text",
    "shards",
    "sim_compare",
    "sim_estimate",
    "sim_evaluate",
    "sim_film",
    "sim_rates",
    "sim_record",
    "sim_report",
    "sim_result",
    "source",
    "sources",
    "status",
    "teacher",
    "write_receipt",
    "write_rows",
]
