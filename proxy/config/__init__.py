"""The configuration: YAML, environment and flags in, one frozen value or every fault out."""
