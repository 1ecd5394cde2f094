"""Fusion models: one architecture a file, one signature for all. `registry` lists them."""
