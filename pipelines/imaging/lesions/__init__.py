"""From findings and a volume to lesions: location, contour, measures."""
