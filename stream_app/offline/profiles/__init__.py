"""What an evaluation says of each part of profiles. Knows no stream."""
