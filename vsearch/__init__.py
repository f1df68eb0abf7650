"""The joint model: pictures and words to vectors, pictures to captions."""

__version__ = "0.1.0"
