"""What is derived from the database and may be deleted at any moment: arrays, graphs."""
