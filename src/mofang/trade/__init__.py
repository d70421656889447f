"""Trade: customers, keys, prices, the meter and invoices; every amount is a whole number of micros."""
