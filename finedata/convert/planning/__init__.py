"""Which record is which episode, and where it goes, before a byte is written."""
