"""How photos beyond one machine become pictures of a store: shards of some hundred photos, each done once."""
