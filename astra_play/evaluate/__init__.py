"""Rollouts of a world against the simulator's truth: action following, fidelity, drift; figures, sheets, one JSON."""
