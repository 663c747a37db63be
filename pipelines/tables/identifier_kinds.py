"""Kinds of identifiers that report texts are searched for."""

IDENTIFIER_KINDS = (
    "name",
    "mrn",
    "accession",
    "ssn",
    "number",
    "phone",
    "email",
    "url",
    "ip",
    "organisation",
    "address",
    "date",
    "age",
    "uid",
    "record id",
)
"""Kinds of identifiers in reports, after the HIPAA safe harbor list."""
