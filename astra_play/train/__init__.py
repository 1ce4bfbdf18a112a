"""Train world models: simulated scenarios, episodes on disk, recipes and the training loop."""
