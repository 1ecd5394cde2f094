"""Where the face is: detected or given, one person followed, cut out upright."""
