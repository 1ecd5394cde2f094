"""Stage two: from cached tracks to fusion models of valence and arousal, and their scores."""
