"""Rooms behind ``data/label.py``: schema, state, queue, agreement, aggregation, active learning, exchange formats."""
