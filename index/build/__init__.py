"""How a library is built: files are found, planned, read by threads, embedded and written."""
