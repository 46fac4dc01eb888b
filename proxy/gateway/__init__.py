"""The public listener: the front door, admission, plain HTTP."""
