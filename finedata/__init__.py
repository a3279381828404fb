"""finedata: robot demonstrations as one canonical, queryable, finely annotated dataset.

`import finedata` is light: the names below load their rooms (pyarrow, polars, numpy) only
when they are first used. `finedata.api` says what the nouns and their verbs have in common.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finedata.api import Benchmark as Benchmark
    from finedata.api import Dataset as Dataset
    from finedata.api import Policy as Policy
    from finedata.api import Recipe as Recipe
    from finedata.api import Shards as Shards
    from finedata.api import Source as Source
    from finedata.api import Teacher as Teacher
    from finedata.api import attention as attention
    from finedata.api import bench_agree as bench_agree
    from finedata.api import bench_report as bench_report
    from finedata.api import bench_score as bench_score
    from finedata.api import benchmark as benchmark
    from finedata.api import card as card
    from finedata.api import doctor as doctor
    from finedata.api import finish_shares as finish_shares
    from finedata.api import merge as merge
    from finedata.api import open as open
    from finedata.api import policy as policy
    from finedata.api import publish as publish
    from finedata.api import pull as pull
    from finedata.api import recipe as recipe
    from finedata.api import shards as shards
    from finedata.api import sim_compare as sim_compare
    from finedata.api import sim_estimate as sim_estimate
    from finedata.api import sim_evaluate as sim_evaluate
    from finedata.api import sim_film as sim_film
    from finedata.api import sim_rates as sim_rates
    from finedata.api import sim_record as sim_record
    from finedata.api import sim_report as sim_report
    from finedata.api import sim_result as sim_result
    from finedata.api import source as source
    from finedata.api import sources as sources
    from finedata.api import status as status
    from finedata.api import teacher as teacher
    from finedata.engine.progress import Progress as Progress
    from finedata.errors import FinedataError as FinedataError
    from finedata.serve.client import connect as connect
    from finedata.shard.stream.opening import stream as stream
    from finedata.store.episode import Episode as Episode

__version__ = "0.1.0.dev0"

# public name -> the module that owns it
_LAZY = {
    "Benchmark": "finedata.api",
    "Dataset": "finedata.api",
    "Episode": "finedata.store.episode",
    "FinedataError": "finedata.errors",
    "Policy": "finedata.api",
    "Progress": "finedata.engine.progress",
    "Recipe": "finedata.api",
    "Shards": "finedata.api",
    "Source": "finedata.api",
    "Teacher": "finedata.api",
    "attention": "finedata.api",
    "bench_agree": "finedata.api",
    "bench_report": "finedata.api",
    "bench_score": "finedata.api",
    "benchmark": "finedata.api",
    "card": "finedata.api",
    "connect": "finedata.serve.client",
    "doctor": "finedata.api",
    "finish_shares": "finedata.api",
    "merge": "finedata.api",
    "open": "finedata.api",
    "policy": "finedata.api",
    "publish": "finedata.api",
    "pull": "finedata.api",
    "recipe": "finedata.api",
    "shards": "finedata.api",
    "sim_compare": "finedata.api",
    "sim_estimate": "finedata.api",
    "sim_evaluate": "finedata.api",
    "sim_film": "finedata.api",
    "sim_rates": "finedata.api",
    "sim_record": "finedata.api",
    "sim_report": "finedata.api",
    "sim_result": "finedata.api",
    "source": "finedata.api",
    "sources": "finedata.api",
    "status": "finedata.api",
    "stream": "finedata.shard.stream.opening",
    "teacher": "finedata.api",
}

__all__ = [
    "Benchmark",
    "Dataset",
    "Episode",
    "FinedataError",
    "Policy",
    "Progress",
    "Recipe",
    "Shards",
    "Source",
    "Teacher",
    "__version__",
    "attention",
    "bench_agree",
    "bench_report",
    "bench_score",
    "benchmark",
    "card",
    "connect",
    "doctor",
    "finish_shares",
    "merge",
    "open",
    "policy",
    "publish",
    "pull",
    "recipe",
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
    "stream",
    "teacher",
]


def __getattr__(name: str) -> object:
    """Load a public name's room on first use (PEP 562)."""
    if name not in _LAZY:
        msg = f"module 'finedata' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
