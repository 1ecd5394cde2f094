"""A corpus of talking puppets, drawn and voiced from code, whose best possible score is known."""
