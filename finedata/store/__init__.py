"""Everything that touches the disk: atomic files, ledger, LeRobot's layout, open and query."""
