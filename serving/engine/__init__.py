"""An ensemble in one process: sessions, how each runs, and the combined answer. Knows no network."""
