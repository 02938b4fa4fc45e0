"""Run the command from a checkout, nothing installed but its dependencies: python cli.py --help."""

from lineage.cli import main

if __name__ == "__main__":
    main()
