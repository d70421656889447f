"""Core: artifacts, the ledger, journals, stages and actions; everything else stands on it and it imports nothing above."""
