"""`python -m stream`, and what `claimstream` calls: the command line."""

import sys

from stream.cli.early import heed


def main() -> None:
    """Heed signals, then import the rest, which takes a second or more, and run a command."""
    heed(sys.argv[1:])
    from stream.cli import main as command_line

    command_line.main()


if __name__ == "__main__":
    main()
