"""How a round fits what a version says of users to people. Knows no stream; a worker does not reach it."""
