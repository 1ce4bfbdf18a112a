"""`python -m astra_play …`: the same as the console script."""

from .cli import program

if __name__ == "__main__":
    program()
