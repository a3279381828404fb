"""What long runs leave on the disk: ledgers, locks, whole files."""
