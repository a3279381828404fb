"""The round trip proved: source and output read again and compared."""
