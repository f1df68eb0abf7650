"""Finished models out of trained parts."""
