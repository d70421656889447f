"""What happens by itself: the outbox, the nightly reconciliation, what expires, and what is watched for."""
