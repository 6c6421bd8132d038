"""What was served when, and what became of it: kept in a file, asked by pages and by commands."""
