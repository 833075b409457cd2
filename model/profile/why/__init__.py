"""Why items are recommended: what of the user they come from. Knows no words and no stream."""
