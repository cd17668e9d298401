"""What people, and their scripts, look at."""
