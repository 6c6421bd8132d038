"""What is counted: requests as nginx tells of them, and metrics for Prometheus."""
