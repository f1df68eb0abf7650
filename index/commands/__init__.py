"""The commands about the library of pictures."""
