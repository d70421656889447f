"""What a unit costs: price plans, versions of prices, what models cost us and what they should cost."""
