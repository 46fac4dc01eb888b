"""The configuration: values, document, environment, rules, loading."""
