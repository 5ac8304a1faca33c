"""What calibration images tell: statistics of activations, shrinkage and Fisher information."""
