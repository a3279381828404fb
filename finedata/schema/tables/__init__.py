"""The declarations of all tables, by where they lie."""
