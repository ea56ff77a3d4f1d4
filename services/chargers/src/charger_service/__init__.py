"""What people operate at the site."""
