"""Workers: the loop that asks for trials and trains them, heartbeats, trainers and engines."""
