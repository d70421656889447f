"""Retention: what is past the date until which it may be kept."""
