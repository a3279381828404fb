"""The parts of the page, each its markup."""
