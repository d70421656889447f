"""Data: records are collected from sources, cleaned with a reason for each that is dropped, and split into
snapshots."""
