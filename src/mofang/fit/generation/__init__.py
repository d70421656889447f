"""Writing and learning to write: rows packed for training, sampling, preferences and rewards."""
