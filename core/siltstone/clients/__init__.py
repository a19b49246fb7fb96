"""Clients that have the shape of Chroma's: over the query function, over a local copy, or in process."""
