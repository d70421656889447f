"""Engines elsewhere that are sold here behind our keys and our meter."""
