"""Serve: packages, their parity gate and the batcher that answers; no HTTP and no torch."""
