"""Prometheus metrics, read off the gateway at scrape."""
