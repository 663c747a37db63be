"""What the fields of a mention and of a finding may say, whoever fills them: rules, language models, corrections."""

COMPARISONS = ("new", "increased", "decreased", "stable", "none")
LATERALITIES = ("left", "right", "bilateral", "midline")
REGIONS = ("head/neck", "chest", "abdomen/pelvis", "musculoskeletal")
SUV_KINDS = ("max", "peak", "mean", "sul", "ratio")
PLANES = ("axial", "coronal", "sagittal")
EXAMS = ("current", "prior", "outside")
ROLES = ("lesion", "reference", "physiologic", "template", "negated")
CERTAINTIES = ("certain", "possible")
OTHER_LANGUAGE = "the reader does not know the language"
"""Begins the error of a reading that is none, for its reader cannot read the report."""
TEXT_EVIDENCE = ("slice+SUV", "SUV only", "slice only", "neither")
