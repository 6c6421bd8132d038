"""``python -m standalone`` is ``branchfront``."""

from standalone.cli import main

if __name__ == "__main__":
    main()
