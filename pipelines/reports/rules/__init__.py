"""What a sentence says, by rules: numbers, their context, pairs of slice and SUVmax."""
