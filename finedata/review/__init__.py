"""The web app for people: look at episodes, and say what is right.

One local server of server-rendered pages and a little plain JavaScript; no build step, no other
address is ever asked. What it decides about a dataset's files is left to `store`: pictures come
from `store.episode`, decisions go through `store.review_journal` and `store.table`.
"""

from __future__ import annotations

from finedata.review.serve import Served, serve

__all__ = ["Served", "serve"]
