"""The accounts of a source, taken by another way than the converter's, and held against the output.

The readers decide what an episode is and the converter what is kept; a check that asks them sees
only what they saw. So everything here reads the source anew with other means (pyarrow, protobuf,
h5py's own walk, FFmpeg's packets, a listing), lists what the source declares and holds, and says of
each thing what became of it. Readers are not imported here, but for `readers.files`, which lists a
folder and opens ranges of bytes.
"""
