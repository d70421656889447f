"""Variants of training records: seeded by the record, so that neither batches nor executors nor a restart change them."""
