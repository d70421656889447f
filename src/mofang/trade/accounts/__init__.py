"""Who buys: customers, their people, keys, limits and what was agreed with them."""
