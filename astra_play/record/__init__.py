"""Outputs and sources of a session that happen to be files. Knows no window."""
