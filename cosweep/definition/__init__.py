"""From a sweep's YAML to the specs of its trials, with every fault of the file at once."""
