"""What photos say in words: captions, keywords and ratings, in the files themselves and in XMP files next to them."""
