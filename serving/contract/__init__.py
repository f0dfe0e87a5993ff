"""What passes between training and serving: errors, tensor specs, combiners and the bundle. Imports numpy only."""
