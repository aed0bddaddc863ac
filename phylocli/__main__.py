"""`python -m phylocli` is the same as `phylocli`."""

from phylocli.cli import main

if __name__ == "__main__":
    main()
