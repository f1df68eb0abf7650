"""The library for assistants: what they may ask of it, and a server that speaks their protocol (`vsearch mcp`)."""
