"""The one file that holds the truth: its schema, its connection, every line of SQL."""
