"""Tests of where the keys of tokens come from."""
