"""Window events in, action rows out. No torch, no pygame."""
