"""Leases: the licence and the encrypted file, what a customer's machine keeps and runs, and the seller's book of both."""
