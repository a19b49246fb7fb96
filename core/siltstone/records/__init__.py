"""Records: one thing to embed each, with its id, its exact input and its metadata."""
