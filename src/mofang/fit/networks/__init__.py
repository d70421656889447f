"""Networks: the torch modules of the families. Imported only when a network is trained or exported."""
