"""Video files: linked, copied, cut, given other times, decoded at given frames."""
