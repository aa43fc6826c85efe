"""MLflow's view of a sweep, written from its tables."""
