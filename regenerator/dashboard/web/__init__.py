"""What is asked over HTTP: the page, the API, their streams."""
