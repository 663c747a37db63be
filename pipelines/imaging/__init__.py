"""Images: volumes, SUV, localisation, contours, measures, pictures."""
