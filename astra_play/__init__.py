"""Astra Play: a generated world that answers keyboard and mouse."""

__version__ = "0.1.0"
