"""What a Ray worker does: it runs one trial at a time, within limits, and writes its rows."""
