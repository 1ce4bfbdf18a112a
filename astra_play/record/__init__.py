"""Outputs and sources that happen to be files: recordings, their videos, and what is made of them. No window."""
