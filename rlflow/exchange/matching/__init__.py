"""Books, orders and accounts: price-time priority, fees, collateral, positions and settlement, in exact integers."""
