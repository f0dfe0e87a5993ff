"""The demo: real data, four members, one proven bundle, served and called."""
