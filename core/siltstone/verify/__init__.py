"""The scrubber: what is stored, compared with what was promised. It reads, and never writes."""
