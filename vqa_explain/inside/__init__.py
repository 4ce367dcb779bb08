"""Looking inside a network: what its layers, positions and heads do to one answer."""
