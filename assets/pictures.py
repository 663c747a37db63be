"""Pictures in the metadata of the UI: PNG inside Markdown, which needs no server and no network."""

import base64

import dagster as dg


def picture(png: bytes, caption: str) -> dg.MarkdownMetadataValue:
    """A PNG as Markdown that the UI shows."""
    return dg.MetadataValue.md(f"{caption}\n\n![{caption}](data:image/png;base64,{base64.b64encode(png).decode()})")
