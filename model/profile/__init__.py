"""What a version says of a user to people: preferences, segment, scores, reasons. Knows no training and no stream."""
