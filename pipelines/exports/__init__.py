"""Exports of lesions: label maps, DICOM SEG."""
