"""``python -m registrar``: for where the installed command is not on PATH."""

from registrar.cli import main

if __name__ == "__main__":
    main()
