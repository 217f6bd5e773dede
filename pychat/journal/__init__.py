"""Journals: where messages are kept before anybody is told of them."""
