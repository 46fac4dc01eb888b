"""The deployment's files, held against each other, against the code, and tried out."""
