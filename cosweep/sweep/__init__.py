"""Running many trials; the only layer that knows Ray and MLflow."""
