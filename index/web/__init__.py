"""The library in a browser: a local server, its pages and its HTTP API (`vsearch serve`)."""
