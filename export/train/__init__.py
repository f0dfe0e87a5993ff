"""From data to a bundle: read a table, search for members, choose an ensemble within a time limit, export it."""
