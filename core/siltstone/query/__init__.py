"""Whole versions, and on request what is not merged yet."""
