"""Stage one: from media on disk to per-frame embeddings in the cache."""
