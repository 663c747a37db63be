"""Lesions for others: label maps, DICOM SEG."""
