"""The commands that make and measure models."""
