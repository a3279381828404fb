"""The command line: one file per verb; each parses, calls one library function, prints.

Results go to stdout, logs and progress to stderr. A `FinedataError` becomes its message and its
exit code: 2 for wrong usage, 1 for what failed. Rooms are imported inside the verbs, so that
`finedata --help` is quick.
"""

from __future__ import annotations

from finedata.cli.app import main

__all__ = ["main"]
