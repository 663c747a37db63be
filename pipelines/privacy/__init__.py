"""What keeps people out of the lake: identifiers in report text, in DICOM headers, and in the ids of exams."""
