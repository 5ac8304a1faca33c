"""Real AutoQ of NNCF 2.19 beside the search of this package, on the same model, images and budget."""
