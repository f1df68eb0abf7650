"""How good captions and rankings are."""
