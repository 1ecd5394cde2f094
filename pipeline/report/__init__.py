"""From finished runs to one HTML file and the same as JSON."""
