"""What was measured, and how it lies on disk. No torch, no Lightning."""
