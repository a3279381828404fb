"""Exporters: the episodes of a finedata dataset in the formats of others.

One module a format; `run.FORMATS` lists them. Colours are right whatever the dataset stores.
"""
