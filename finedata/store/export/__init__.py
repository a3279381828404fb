"""Exporters: a finedata dataset comes in, the same episodes in another format go out.

One module a format; `run.FORMATS` lists them. Colours are right whatever the dataset stores.
"""
