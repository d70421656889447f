"""The training loop: batches, steps, verdicts, checkpoints, curves.

``learning`` and ``plan`` are its settings and hold no torch; the other modules are imported when training starts.
"""
