"""Tables of results, on disk or in an object store; no torch."""
