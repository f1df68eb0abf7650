"""What the project measures of itself, and prints."""
