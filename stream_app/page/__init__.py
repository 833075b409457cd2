"""The page that shows nextact at work. It knows a worker's API and its metrics, and nothing of how a worker works."""
