"""How a library is built: found on disk, read by threads, planned, embedded, settled."""
