"""The training loop, its protocols, and the tasks that it trains."""
