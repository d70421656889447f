"""The training loop: batches, steps, checkpoints, curves.

Its modules need torch and are imported when training starts.
"""
