"""From a row of samples to tensors."""
