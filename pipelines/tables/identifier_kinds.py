"""Kinds of identifiers that report texts are searched for."""

IDENTIFIER_KINDS = (
    "name",
    "mrn",
    "accession",
    "ssn",
    "phone",
    "email",
    "url",
    "address",
    "date",
    "age",
    "uid",
    "record id",
)
"""Kinds of identifiers in reports, after the HIPAA safe harbor list."""
