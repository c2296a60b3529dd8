"""A placeholder."""


def settings() -> dict[str, object]:
    """Settings."""
    return {}


def module() -> str:
    """Module."""
    return "export default {};"


def style() -> str:
    """Style."""
    return ""


def saved() -> str:
    """Page."""
    return "<!doctype html><title>vgcore</title>"


def served(token: str) -> str:
    """Page."""
    return f"<!doctype html><title>vgcore</title>{token}"
