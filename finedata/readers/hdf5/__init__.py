"""HDF5: one file, or one group of it, is one episode."""
