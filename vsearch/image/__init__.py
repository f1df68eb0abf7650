"""From a file on disk to the pixels the encoder sees."""
