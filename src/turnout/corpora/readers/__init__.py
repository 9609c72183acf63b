"""Readers of manifests: each turns a source into entries, and names the line where it cannot."""
