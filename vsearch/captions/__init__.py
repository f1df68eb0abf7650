"""Captions: beam search over a decoder, and the choice among its captions."""
