"""What the system knows of single users, read from Kafka for people. Knows no worker."""
