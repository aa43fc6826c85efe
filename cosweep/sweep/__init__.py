"""Running the trials of a sweep through Ray Tune."""
