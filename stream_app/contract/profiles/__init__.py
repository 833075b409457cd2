"""The fields of predictions that say of users what they like, are like and will do. Knows no Kafka."""
