"""Experts, the routers that choose among them, and the values that say who was chosen."""
