"""``python -m regenerator.dashboard FD STATE``: the dashboard as a process of its regenerator."""

from regenerator.dashboard.process import main

if __name__ == "__main__":
    main()
