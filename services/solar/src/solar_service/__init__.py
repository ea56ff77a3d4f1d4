"""What the panels give now."""
