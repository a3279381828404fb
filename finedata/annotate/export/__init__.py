"""Exporters: a dataset's annotations in the forms that other projects read."""
