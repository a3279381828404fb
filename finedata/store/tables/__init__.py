"""Published tables on the disk: written whole, read by column, asked by SQL."""
