"""From metered use to a bill that can be made again: balances, charges, invoices, proofs, credits, payments."""
