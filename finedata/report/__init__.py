"""The report: a dataset and what curation said of it, as one HTML file for people.

Facts are gathered first (`funnel`, `facts`, `tasks`, `coverage`), as plain structs that a test can
recompute; drawing (`svg`, `plots`) and pages (`html`, `sections`) only lay them out.
"""
