"""Time and threads of a session. Knows interfaces, not windows, and no torch."""
