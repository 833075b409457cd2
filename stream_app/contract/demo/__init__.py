"""What the demo tells the page, in files: both run on one machine."""
