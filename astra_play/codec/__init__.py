"""Latents <-> pictures."""
