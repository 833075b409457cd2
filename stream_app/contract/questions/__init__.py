"""What is asked of workers over HTTP, and how they answer: paths, bodies, errors, and the document of them."""
