"""Experts without a model: what differs from a base that lies elsewhere. No torch here."""
