"""LeRobot v2.0 to v3.0: rows, descriptions and videos of one dataset."""
