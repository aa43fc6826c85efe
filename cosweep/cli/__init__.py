"""The command ``cosweep``, and the tables that it prints."""
