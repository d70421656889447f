"""What the pages of a console and of a customer's own account show of the trade, as facts: read, summed, never changed."""
