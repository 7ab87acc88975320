"""What is said of a wrong field in a request."""

from pydantic_core import ErrorDetails


def sentence(mistake: ErrorDetails) -> str:
    """pydantic's sentence, but never what the field held, which that of a wrong tag repeats."""
    if mistake["type"] == "union_tag_invalid":
        return f"Input should be one of {mistake['ctx']['expected_tags']}"
    return mistake["msg"]
