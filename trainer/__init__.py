"""Shards -> trained model, evaluation, report. Keras and tf.data; never Beam."""
