"""The cache: tracks, their clocks, their keys, the store and the catalogue. The only door between the stages."""
