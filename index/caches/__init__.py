"""What is derived from the library and may be deleted at any moment: arrays, graphs."""
