"""`python -m stream` is the command line."""

from stream.cli.main import main

main()
