"""Actions and past in, next latent chunk out. Torch only."""
