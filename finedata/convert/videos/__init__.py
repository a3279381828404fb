"""Videos of the output: which bytes are kept, which time they get, what is measured of them."""
