"""Policies behind a socket: the server, its dialects, its client, and open-loop replay."""
