"""What the fields of a finding may say, whoever fills them: rules, language models, corrections."""

COMPARISONS = ("new", "increased", "decreased", "stable", "none")
LATERALITIES = ("left", "right", "bilateral", "midline")
REGIONS = ("head/neck", "chest", "abdomen/pelvis", "musculoskeletal")
