"""What several unit tests build their cases from; knows no single test."""
