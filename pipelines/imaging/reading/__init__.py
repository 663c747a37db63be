"""From files to an SUV volume: DICOM, NIfTI, SUV, expert masks."""
