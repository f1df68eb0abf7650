"""The networks, written as the papers describe them."""
