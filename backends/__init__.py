"""What a scheduled nest becomes: `accel` emits instructions from it, `cost` counts and prices it."""
