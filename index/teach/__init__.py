"""What a library learns from votes on its own pictures."""
