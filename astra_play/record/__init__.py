"""Outputs and sources that happen to be files: the action log, the video beside it, and the last seconds in memory."""
