"""What the commands on PATH call: thin, so that they start at once."""
