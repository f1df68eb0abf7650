"""Words: tokens, vocabularies, word vectors and the query language. Nothing here imports torch."""
