"""RLDS: records of `tf.train.Example` in TFRecord files."""
